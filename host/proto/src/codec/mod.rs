//! CONTRACT SKETCH.
//! pub struct Limits { pub maximum_packet_size: u32, ... }
//! pub fn decode(input: &mut BytesMut, version: Version, limits: &Limits) -> Result<Option<Packet>, DecodeError>;
//!     Server or client direction both decode (tests, load tools): every packet type.
//! pub fn decode_connect(input: &mut BytesMut, limits: &Limits) -> Result<Option<Connect>, DecodeError>;
//!     First packet of a connection: learns the version; anything but CONNECT is DecodeError::NotConnect [MQTT-3.1.0-1].
//! pub fn encode(packet: &Packet, version: Version, out: &mut BytesMut) -> Result<(), EncodeError>;
//! pub fn encode_publish(...borrowed fields...) for the hot path; encoded_len(...)
//! A packet below 4 KiB is copied into one allocation of its own (so that a shared read buffer is never pinned by
//! small messages); larger ones are split off without a copy. topic and payload are slices of that allocation.
