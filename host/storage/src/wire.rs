//! Values as bytes: little helpers, big-endian, lengths before contents.
//!
//! Owns: [`Writer`] and [`Reader`]. Must not: know what the values mean (that is `format.rs`).

use bytes::Bytes;
use bytestring::ByteString;

/// A value that is not what was written: damaged, or of another format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is damaged at byte {0}")]
pub(crate) struct Damaged(pub(crate) usize);

/// Builds a value.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Length and contents. Nothing here comes near 4 GiB: packets are bounded to 256 MiB.
    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value);
        self
    }

    /// As it is, without a length: the last part of a key.
    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Whether there is one, then the value.
    pub(crate) fn option<T>(
        &mut self,
        value: Option<T>,
        write: impl FnOnce(&mut Self, T),
    ) -> &mut Self {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// Takes a value apart.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    pub(crate) fn damaged(&self) -> Damaged {
        Damaged(self.at)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let end = self.at.checked_add(count).ok_or(self.damaged())?;
        let part = self.input.get(self.at..end).ok_or(self.damaged())?;
        self.at = end;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let at = self.damaged();
        self.take(N)?.try_into().map_err(|_| at)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damaged> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Damaged> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damaged> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damaged> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Damaged> {
        let length = self.u32()?;
        let length = usize::try_from(length).map_err(|_| self.damaged())?;
        Ok(Bytes::copy_from_slice(self.take(length)?))
    }

    pub(crate) fn text(&mut self) -> Result<ByteString, Damaged> {
        let at = self.damaged();
        ByteString::try_from(self.bytes()?).map_err(|_| at)
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Option<T>, Damaged> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Damaged(self.at - 1)),
        }
    }

    /// So many of them. What is claimed is not believed: memory grows with what is there.
    pub(crate) fn list<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Vec<T>, Damaged> {
        (0..self.u32()?).map(|_| read(self)).collect()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = self.input.get(self.at..).unwrap_or_default();
        self.at = self.input.len();
        rest
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), Damaged> {
        if self.at == self.input.len() {
            Ok(())
        } else {
            Err(self.damaged())
        }
    }
}
