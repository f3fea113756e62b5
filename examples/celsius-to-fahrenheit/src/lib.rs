//! A WitMQ plugin
