//! Texts and lists of bytes that are put into a guest without a call into it for memory, which is most of the price of one.
//!
//! A guest that lends a desk ([`Desk`]) finds them there. The engine asks the others for memory even for what is empty: guests made
//! with wit-bindgen answer with the alignment, an address that nothing lies at. Who did so once is given that address from
//! then on; others are asked each time.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI64, Ordering};
use wasmtime::ValRaw;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentType, Lower};

/// Memory of a guest that it does not touch but to read what was put there, until it is called again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desk {
    pub(crate) at: u32,
    pub(crate) bytes: u32,
}

/// What one guest answered for nothing; 0 while it was not asked, or answers with memory. And its desk, if it lends one.
#[derive(Debug, Default)]
pub(crate) struct Nothing {
    text: AtomicI64,
    bytes: AtomicI64,
    desk: Option<Desk>,
}

impl Nothing {
    pub(crate) fn new(desk: Option<Desk>) -> Self {
        Self {
            desk,
            ..Self::default()
        }
    }

    pub(crate) fn desk(&self) -> Option<Desk> {
        self.desk
    }

    /// Where the texts and lists of one call come to lie.
    pub(crate) fn lay(&self) -> Laying<'_> {
        let Desk { at, bytes } = self.desk.unwrap_or(Desk { at: 0, bytes: 0 });
        Laying {
            nothing: self,
            at,
            room: bytes,
        }
    }
}

/// Puts one beside the other on a desk.
#[derive(Debug)]
pub(crate) struct Laying<'a> {
    nothing: &'a Nothing,
    /// 0: there is no desk.
    at: u32,
    room: u32,
}

impl<'a> Laying<'a> {
    pub(crate) fn text(&mut self, whole: &'a str) -> Lean<'a, str> {
        Lean {
            whole,
            is_empty: whole.is_empty(),
            at: self.place(whole.len()),
            nothing: &self.nothing.text,
        }
    }

    pub(crate) fn bytes(&mut self, whole: &'a [u8]) -> Lean<'a, [u8]> {
        Lean {
            whole,
            is_empty: whole.is_empty(),
            at: self.place(whole.len()),
            nothing: &self.nothing.bytes,
        }
    }

    /// The next free place for so many bytes; 0: the guest is asked for memory.
    fn place(&mut self, bytes: usize) -> u32 {
        let left = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.room.checked_sub(bytes));
        let Some(left) = left else { return 0 };
        let at = self.at;
        self.at += self.room - left;
        self.room = left;
        at
    }
}

pub(super) const BEYOND: &str = "the desk that the guest lends lies beyond its memory";

/// Alignments are addresses below this, and memory of a guest is not.
const ALIGNMENTS: i64 = 8;

/// A `string` or `list<u8>`.
#[derive(Debug)]
pub(crate) struct Lean<'a, T: ?Sized> {
    whole: &'a T,
    is_empty: bool,
    /// Its place on the desk, or 0.
    at: u32,
    nothing: &'a AtomicI64,
}

impl<T: ?Sized> Clone for Lean<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Lean<'_, T> {}

// SAFETY: it is lowered as `T`, or to what `T` was lowered to before, and has the type of `T`.
unsafe impl<T: ComponentType<Lower = [ValRaw; 2]> + ?Sized> ComponentType for Lean<'_, T> {
    type Lower = [ValRaw; 2];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::POINTER_PAIR;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        T::typecheck(ty, types)
    }
}

// SAFETY: both fields of `dst` are written in each case in which this ends well.
unsafe impl<T> Lower for Lean<'_, T>
where
    T: Lower + ComponentType<Lower = [ValRaw; 2]> + AsRef<[u8]> + ?Sized,
{
    fn linear_lower_to_flat<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<[ValRaw; 2]>,
    ) -> wasmtime::Result<()> {
        if self.at != 0 {
            let bytes = self.whole.as_ref();
            if !self.is_empty {
                let at = usize::try_from(self.at)?;
                let place = cx.as_slice_mut().get_mut(at..at + bytes.len());
                let place = place.ok_or_else(|| wasmtime::Error::msg(BEYOND))?;
                place.copy_from_slice(bytes);
            }
            let length = i64::try_from(bytes.len())?;
            dst.write([ValRaw::i64(self.at.into()), ValRaw::i64(length)]);
            return Ok(());
        }
        if !self.is_empty {
            return self.whole.linear_lower_to_flat(cx, ty, dst);
        }
        match self.nothing.load(Ordering::Relaxed) {
            0 => {
                self.whole.linear_lower_to_flat(cx, ty, dst)?;
                // SAFETY: it ended well, so both are written.
                let [at, _] = unsafe { dst.assume_init_ref() };
                let at = at.get_i64();
                if (1..=ALIGNMENTS).contains(&at) {
                    self.nothing.store(at, Ordering::Relaxed);
                }
            }
            at => {
                dst.write([ValRaw::i64(at), ValRaw::i64(0)]);
            }
        }
        Ok(())
    }

    fn linear_lower_to_memory<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        self.whole.linear_lower_to_memory(cx, ty, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_lies_side_by_side_and_memory_is_asked_for_for_the_rest() {
        let nothing = Nothing::new(Some(Desk { at: 64, bytes: 10 }));
        let mut laying = nothing.lay();
        assert_eq!(laying.text("abc").at, 64);
        assert_eq!(laying.bytes(b"12345678").at, 0, "one too many");
        assert_eq!(laying.bytes(b"1234567").at, 67);
        assert_eq!(laying.text("").at, 74, "nothing has room on a full desk");
        assert_eq!(laying.text("a").at, 0);
        assert_eq!(nothing.lay().bytes(b"1234567890").at, 64, "the next call");
        let none = Nothing::new(None);
        let mut laying = none.lay();
        assert_eq!([laying.text("").at, laying.text("a").at], [0, 0]);
    }
}
