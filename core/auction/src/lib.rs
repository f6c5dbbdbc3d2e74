//! Sealed-bid auction for energy: messages, proofs, roles
