//! Journals, transactions, execution, roots, proofs, certificates
