//! What an operator of charging stations runs
