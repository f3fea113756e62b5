//! MessagePack, read into and written from the values of CBOR.
//!
//! Owns: its markers. Must not: believe a length before the bytes are there.

use ciborium::Value;
use ciborium::value::Integer;

type Read<T> = Result<T, String>;

pub(crate) fn read(payload: &[u8], max_depth: usize) -> Read<Value> {
    let mut reader = Reader(payload);
    let value = reader.value(max_depth)?;
    match reader.0 {
        [] => Ok(value),
        rest => Err(format!("{} bytes are left behind its end", rest.len())),
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Read<&'b [u8]> {
        let (part, rest) = self.0.split_at_checked(count).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (part, rest) = self.0.split_first_chunk().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*part)
    }

    /// A length of 1, 2 or 4 bytes.
    fn length(&mut self, size: u8) -> Read<usize> {
        Ok(match size {
            1 => usize::from(u8::from_be_bytes(self.array()?)),
            2 => usize::from(u16::from_be_bytes(self.array()?)),
            _ => usize::try_from(u32::from_be_bytes(self.array()?)).unwrap_or(usize::MAX),
        })
    }

    fn value(&mut self, levels: usize) -> Read<Value> {
        let [marker] = self.array()?;
        Ok(match marker {
            0x00..=0x7F => Value::from(marker),
            0x80..=0x8F => self.map(usize::from(marker & 0x0F), levels)?,
            0x90..=0x9F => self.list(usize::from(marker & 0x0F), levels)?,
            0xA0..=0xBF => self.text(usize::from(marker & 0x1F))?,
            0xC0 => Value::Null,
            0xC1 => return Err("the byte 0xc1 is never used in msgpack".to_owned()),
            0xC2 | 0xC3 => Value::Bool(marker == 0xC3),
            0xC4..=0xC6 => {
                let length = self.length(1 << (marker - 0xC4))?;
                Value::Bytes(self.take(length)?.to_vec())
            }
            0xCA => Value::Float(f32::from_be_bytes(self.array()?).into()),
            0xCB => Value::Float(f64::from_be_bytes(self.array()?)),
            0xCC => Value::from(u8::from_be_bytes(self.array()?)),
            0xCD => Value::from(u16::from_be_bytes(self.array()?)),
            0xCE => Value::from(u32::from_be_bytes(self.array()?)),
            0xCF => Value::from(u64::from_be_bytes(self.array()?)),
            0xD0 => Value::from(i8::from_be_bytes(self.array()?)),
            0xD1 => Value::from(i16::from_be_bytes(self.array()?)),
            0xD2 => Value::from(i32::from_be_bytes(self.array()?)),
            0xD3 => Value::from(i64::from_be_bytes(self.array()?)),
            0xC7..=0xC9 | 0xD4..=0xD8 => {
                return Err("an extension type has no form elsewhere".to_owned());
            }
            0xD9..=0xDB => {
                let length = self.length(1 << (marker - 0xD9))?;
                self.text(length)?
            }
            0xDC | 0xDD => {
                let length = self.length(2 << (marker - 0xDC))?;
                self.list(length, levels)?
            }
            0xDE | 0xDF => {
                let length = self.length(2 << (marker - 0xDE))?;
                self.map(length, levels)?
            }
            0xE0..=0xFF => Value::from(i8::from_be_bytes([marker])),
        })
    }

    fn text(&mut self, length: usize) -> Read<Value> {
        let text = std::str::from_utf8(self.take(length)?);
        Ok(Value::Text(
            text.map_err(|error| error.to_string())?.to_owned(),
        ))
    }

    fn list(&mut self, length: usize, levels: usize) -> Read<Value> {
        let levels = levels.checked_sub(1).ok_or("it has too many levels")?;
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(self.value(levels)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, length: usize, levels: usize) -> Read<Value> {
        let levels = levels.checked_sub(1).ok_or("it has too many levels")?;
        let mut members = Vec::new();
        for _ in 0..length {
            members.push((self.value(levels)?, self.value(levels)?));
        }
        Ok(Value::Map(members))
    }
}

pub(crate) fn write(value: &Value) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    put(value, &mut out)?;
    Ok(out)
}

fn put(value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match value {
        Value::Null => out.push(0xC0),
        Value::Bool(value) => out.push(0xC2 + u8::from(*value)),
        Value::Integer(value) => integer(*value, out)?,
        Value::Float(value) => {
            out.push(0xCB);
            out.extend(value.to_be_bytes());
        }
        Value::Text(text) => {
            head(
                text.len(),
                Some((0xA0, 31)),
                [Some(0xD9), Some(0xDA), Some(0xDB)],
                out,
            )?;
            out.extend(text.as_bytes());
        }
        Value::Bytes(bytes) => {
            head(bytes.len(), None, [Some(0xC4), Some(0xC5), Some(0xC6)], out)?;
            out.extend(bytes);
        }
        Value::Array(items) => {
            head(
                items.len(),
                Some((0x90, 15)),
                [None, Some(0xDC), Some(0xDD)],
                out,
            )?;
            items.iter().try_for_each(|item| put(item, out))?;
        }
        Value::Map(members) => {
            head(
                members.len(),
                Some((0x80, 15)),
                [None, Some(0xDE), Some(0xDF)],
                out,
            )?;
            for (name, member) in members {
                put(name, out)?;
                put(member, out)?;
            }
        }
        Value::Tag(2 | 3, _) => return Err("an integer has more than 64 bits".to_owned()),
        Value::Tag(_, value) => put(value, out)?,
        other => return Err(format!("{other:?} has no form in msgpack")),
    }
    Ok(())
}

/// A length in the shortest form: within the marker, or in 1, 2 or 4 bytes behind one.
fn head(
    length: usize,
    within: Option<(u8, u8)>,
    markers: [Option<u8>; 3],
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let [one, two, four] = markers;
    match (
        u8::try_from(length),
        u16::try_from(length),
        u32::try_from(length),
    ) {
        (Ok(length), ..) if let Some((marker, _)) = within.filter(|(_, max)| length <= *max) => {
            out.push(marker | length)
        }
        (Ok(length), ..) if let Some(marker) = one => out.extend([marker, length]),
        (_, Ok(length), _) if let Some(marker) = two => {
            out.push(marker);
            out.extend(length.to_be_bytes());
        }
        (_, _, Ok(length)) if let Some(marker) = four => {
            out.push(marker);
            out.extend(length.to_be_bytes());
        }
        _ => return Err(format!("{length} bytes or items are too many for msgpack")),
    }
    Ok(())
}

fn integer(value: Integer, out: &mut Vec<u8>) -> Result<(), String> {
    let value = i128::from(value);
    if let Ok(value) = i8::try_from(value)
        && value >= -32
    {
        out.extend(value.to_be_bytes());
    } else if let Ok(value) = u8::try_from(value) {
        out.extend([0xCC, value]);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(0xCD);
        out.extend(value.to_be_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(0xCE);
        out.extend(value.to_be_bytes());
    } else if let Ok(value) = u64::try_from(value) {
        out.push(0xCF);
        out.extend(value.to_be_bytes());
    } else if let Ok(value) = i8::try_from(value) {
        out.push(0xD0);
        out.extend(value.to_be_bytes());
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xD1);
        out.extend(value.to_be_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xD2);
        out.extend(value.to_be_bytes());
    } else if let Ok(value) = i64::try_from(value) {
        out.push(0xD3);
        out.extend(value.to_be_bytes());
    } else {
        return Err(format!("{value} has more than 64 bits"));
    }
    Ok(())
}
