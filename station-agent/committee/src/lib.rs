//! Consensus host: Malachite's core driven as fn(input) -> actions
