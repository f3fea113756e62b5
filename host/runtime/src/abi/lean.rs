//! Texts and lists of bytes that cost nothing where they are empty.
//!
//! The engine asks the guest for memory even for an empty one: a call into it, which is most of the price of a field that was
//! not asked for. Guests made with wit-bindgen answer with the alignment, an address that nothing lies at. Who did so
//! once is given that address from then on; others are asked each time.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI64, Ordering};
use wasmtime::ValRaw;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentType, Lower};

/// What one guest answered for nothing; 0 while it was not asked, or answers with memory.
#[derive(Debug, Default)]
pub(crate) struct Nothing {
    text: AtomicI64,
    bytes: AtomicI64,
}

impl Nothing {
    pub(crate) fn text<'a>(&'a self, whole: &'a str) -> Lean<'a, str> {
        Lean {
            whole,
            is_empty: whole.is_empty(),
            nothing: &self.text,
        }
    }

    pub(crate) fn bytes<'a>(&'a self, whole: &'a [u8]) -> Lean<'a, [u8]> {
        Lean {
            whole,
            is_empty: whole.is_empty(),
            nothing: &self.bytes,
        }
    }
}

/// Alignments are addresses below this, and memory of a guest is not.
const ALIGNMENTS: i64 = 8;

/// A `string` or `list<u8>`.
#[derive(Debug)]
pub(crate) struct Lean<'a, T: ?Sized> {
    whole: &'a T,
    is_empty: bool,
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
unsafe impl<T: Lower + ComponentType<Lower = [ValRaw; 2]> + ?Sized> Lower for Lean<'_, T> {
    fn linear_lower_to_flat<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<[ValRaw; 2]>,
    ) -> wasmtime::Result<()> {
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
