//! Simulations, attacks, peers and benches over the whole house
