//! SDK for WitMQ plugins
