//! Payloads as an edge node writes them.
//!
//! Owns: the fields of the Sparkplug B schema, written by hand. Must not: use what it is to test.

/// The first metric of a field that holds a value.
pub(crate) const INT: u64 = 10;
pub(crate) const LONG: u64 = 11;
pub(crate) const FLOAT: u64 = 12;
pub(crate) const DOUBLE: u64 = 13;
pub(crate) const BOOLEAN: u64 = 14;
pub(crate) const TEXT: u64 = 15;
pub(crate) const BYTES: u64 = 16;
pub(crate) const DATA_SET: u64 = 17;
pub(crate) const TEMPLATE: u64 = 18;

/// A message under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoder(pub(crate) Vec<u8>);

pub(crate) fn message() -> Encoder {
    Encoder::default()
}

impl Encoder {
    fn raw_varint(mut self, mut value: u64) -> Self {
        loop {
            let low = u8::try_from(value % 128).unwrap();
            value /= 128;
            if value == 0 {
                self.0.push(low);
                return self;
            }
            self.0.push(low + 128);
        }
    }

    pub(crate) fn varint(self, field: u64, value: u64) -> Self {
        self.raw_varint(field * 8).raw_varint(value)
    }

    pub(crate) fn bytes(self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let mut encoder = self
            .raw_varint(field * 8 + 2)
            .raw_varint(u64::try_from(value.len()).unwrap());
        encoder.0.extend(value);
        encoder
    }

    pub(crate) fn message(self, field: u64, value: Self) -> Self {
        self.bytes(field, value.0)
    }

    pub(crate) fn float(self, field: u64, value: f32) -> Self {
        let mut encoder = self.raw_varint(field * 8 + 5);
        encoder.0.extend(value.to_le_bytes());
        encoder
    }

    pub(crate) fn double(self, field: u64, value: f64) -> Self {
        let mut encoder = self.raw_varint(field * 8 + 1);
        encoder.0.extend(value.to_le_bytes());
        encoder
    }
}

/// A metric with a name and a datatype; its value comes next.
pub(crate) fn metric(name: &str, datatype: u64) -> Encoder {
    message().bytes(1, name).varint(4, datatype)
}

/// A metric with an alias alone.
pub(crate) fn alias(alias: u64) -> Encoder {
    message().varint(2, alias)
}

/// A payload with a sequence number.
pub(crate) fn payload(seq: u64, metrics: impl IntoIterator<Item = Encoder>) -> Vec<u8> {
    let payload = message().varint(1, 1_700_000_000_000);
    let add = |payload: Encoder, metric| payload.message(2, metric);
    metrics.into_iter().fold(payload, add).varint(3, seq).0
}
