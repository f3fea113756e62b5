//! The wire of Protocol Buffers.
//!
//! Owns: fields one after the other, borrowed from the payload. Must not: believe a length before the bytes are there.

/// Why bytes are not what they should be.
pub(crate) type Read<T> = Result<T, String>;

/// A field as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field<'p> {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(&'p [u8]),
    Four([u8; 4]),
}

/// All fields of a message, in their order.
pub(crate) struct Fields<'p>(pub(crate) &'p [u8]);

impl<'p> Iterator for Fields<'p> {
    type Item = Read<(u32, Field<'p>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'p> Fields<'p> {
    fn field(&mut self) -> Read<(u32, Field<'p>)> {
        let key = varint(&mut self.0)?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|number| (1..=0x1FFF_FFFF).contains(number));
        let number = number.ok_or("a field has no valid number")?;
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut self.0)?),
            1 => Field::Eight(array(&mut self.0)?),
            2 => {
                let length = varint(&mut self.0)?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Field::Bytes(take(&mut self.0, length)?)
            }
            5 => Field::Four(array(&mut self.0)?),
            other => return Err(format!("field {number} has the wire type {other}")),
        };
        Ok((number, field))
    }
}

pub(crate) fn take<'p>(rest: &mut &'p [u8], count: usize) -> Read<&'p [u8]> {
    let (part, after) = rest.split_at_checked(count).ok_or("it ends too early")?;
    *rest = after;
    Ok(part)
}

pub(crate) fn array<const N: usize>(rest: &mut &[u8]) -> Read<[u8; N]> {
    let (part, after) = rest.split_first_chunk().ok_or("it ends too early")?;
    *rest = after;
    Ok(*part)
}

/// An integer in groups of seven bits, the low ones first.
pub(crate) fn varint(rest: &mut &[u8]) -> Read<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = array(rest)?;
        let bits = u64::from(byte & 0x7F);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("an integer has more than 64 bits".to_owned())
}

/// The same, written.
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

impl<'p> Field<'p> {
    pub(crate) fn integer(self) -> Read<u64> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err("it has to be an integer".to_owned()),
        }
    }

    /// The low 32 bits, as the wire has it for `uint32`.
    pub(crate) fn small(self) -> Read<u32> {
        let [a, b, c, d, ..] = self.integer()?.to_le_bytes();
        Ok(u32::from_le_bytes([a, b, c, d]))
    }

    pub(crate) fn boolean(self) -> Read<bool> {
        Ok(self.integer()? != 0)
    }

    pub(crate) fn float(self) -> Read<f32> {
        match self {
            Self::Four(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err("it has to be a float".to_owned()),
        }
    }

    pub(crate) fn double(self) -> Read<f64> {
        match self {
            Self::Eight(bytes) => Ok(f64::from_le_bytes(bytes)),
            _ => Err("it has to be a double".to_owned()),
        }
    }

    pub(crate) fn bytes(self) -> Read<&'p [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err("it has to be bytes or a message".to_owned()),
        }
    }

    pub(crate) fn text(self) -> Read<&'p str> {
        std::str::from_utf8(self.bytes()?).map_err(|error| format!("it is no text: {error}"))
    }
}
