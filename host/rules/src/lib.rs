//! Chains: rule files and CEL
