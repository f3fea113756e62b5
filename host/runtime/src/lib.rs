//! The plugin host: alone knows wasmtime
