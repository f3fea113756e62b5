//! The broker as its users meet it
