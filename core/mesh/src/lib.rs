//! One QUIC endpoint: identity, framing, discovery, gossip
