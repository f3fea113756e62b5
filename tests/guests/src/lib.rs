//! Misbehaving guests for the runtime's tests
