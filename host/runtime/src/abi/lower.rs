//! Strings and bytes on their way into a guest, copied in one go: the engine lowers `&[u8]` byte by byte.
//!
//! The guest's allocator is asked even for what is empty. It would be cheaper not to, but guests of Python free what they
//! are given, and what their allocator has not given ends them.

use std::mem::MaybeUninit;
use wasmtime::ValRaw;
use wasmtime::component::__internal::wasmtime_environ::component::StringEncoding;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentType, Lower};

/// A string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a>(pub(crate) &'a str);

/// A `list<u8>`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blob<'a>(pub(crate) &'a [u8]);

fn flat(place: usize, length: usize) -> [ValRaw; 2] {
    let number = |value: usize| ValRaw::i64(i64::try_from(value).unwrap_or(i64::MAX));
    [number(place), number(length)]
}

/// Copies into memory that the guest gives.
fn copied<T>(cx: &mut LowerContext<'_, T>, bytes: &[u8]) -> wasmtime::Result<[ValRaw; 2]> {
    let place = cx.realloc(0, 0, 1, bytes.len())?;
    let memory = cx.as_slice_mut();
    let room = place.checked_add(bytes.len());
    let room = room.and_then(|end| memory.get_mut(place..end));
    // The engine has checked the same; it is one comparison.
    let room = room.ok_or_else(|| wasmtime::Error::msg("realloc gave memory out of bounds"))?;
    room.copy_from_slice(bytes);
    Ok(flat(place, bytes.len()))
}

// SAFETY (of the four below): the lowered form is that of `str` and `[u8]`, to which type checks and the form in memory
// are left; `copied` fills both values.
unsafe impl ComponentType for Text<'_> {
    type Lower = <str as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <str as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <str as ComponentType>::typecheck(ty, types)
    }
}

unsafe impl Lower for Text<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        if cx.options().string_encoding != StringEncoding::Utf8 {
            return self.0.linear_lower_to_flat(cx, ty, dst);
        }
        dst.write(copied(cx, self.0.as_bytes())?);
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        self.0.linear_lower_to_memory(cx, ty, offset)
    }
}

unsafe impl ComponentType for Blob<'_> {
    type Lower = <[u8] as ComponentType>::Lower;
    const ABI: CanonicalAbiInfo = <[u8] as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <[u8] as ComponentType>::typecheck(ty, types)
    }
}

unsafe impl Lower for Blob<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        _: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        dst.write(copied(cx, self.0)?);
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        self.0.linear_lower_to_memory(cx, ty, offset)
    }
}
