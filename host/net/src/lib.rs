//! Client sockets, TLS, WebSocket, and the driver of each shard
