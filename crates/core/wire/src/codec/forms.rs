//! Forms of fields: octets or elements behind a length, or the type's own form.

use bytes::Bytes;

use super::{Decode, DecodeError, Encode, Reader, Writer};

fn length(reader: &mut Reader<'_>, width: usize) -> Result<usize, DecodeError> {
    let octets = reader.take(width)?;
    Ok(octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)))
}

pub(crate) fn write_opaque(out: &mut Writer, width: usize, value: &[u8]) {
    out.vector(width, |out| out.octets(value));
}

pub(crate) fn read_opaque(reader: &mut Reader<'_>, width: usize) -> Result<Bytes, DecodeError> {
    let length = length(reader, width)?;
    reader.take(length)
}

pub(crate) fn write_list<T: Encode>(out: &mut Writer, width: usize, list: &[T]) {
    out.vector(width, |out| list.iter().for_each(|element| element.encode(out)));
}

pub(crate) fn read_list<T: Decode>(reader: &mut Reader<'_>, width: usize) -> Result<Vec<T>, DecodeError> {
    let length = length(reader, width)?;
    read_all(reader.part(length)?)
}

/// Reads elements until the end. Each takes at least one octet, so there are never more of them than octets.
pub(crate) fn read_all<T: Decode>(mut reader: Reader<'_>) -> Result<Vec<T>, DecodeError> {
    let mut list = Vec::new();
    while reader.left() > 0 {
        list.push(T::decode(&mut reader)?);
    }
    Ok(list)
}

/// Reads a structure behind a length that it must fill.
pub(crate) fn read_within<'a, T>(
    reader: &mut Reader<'a>,
    width: usize,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let length = length(reader, width)?;
    let mut part = reader.part(length)?;
    let value = read(&mut part)?;
    part.finish()?;
    Ok(value)
}

/// The type's own form.
pub(crate) mod own {
    use super::{Decode, DecodeError, Encode, Reader, Writer};

    pub(crate) fn write<T: Encode>(value: &T, out: &mut Writer) {
        value.encode(out);
    }

    pub(crate) fn read<T: Decode>(reader: &mut Reader<'_>) -> Result<T, DecodeError> {
        T::decode(reader)
    }
}

macro_rules! vectors {
    ($($opaque:ident, $list:ident = $width:literal;)*) => {$(
        /// Octets behind their number.
        pub(crate) mod $opaque {
            use super::{Bytes, DecodeError, Reader, Writer};

            pub(crate) fn write(value: &Bytes, out: &mut Writer) {
                super::write_opaque(out, $width, value);
            }

            pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Bytes, DecodeError> {
                super::read_opaque(reader, $width)
            }
        }

        /// Elements behind the number of their octets.
        pub(crate) mod $list {
            use super::{Decode, DecodeError, Encode, Reader, Writer};

            pub(crate) fn write<T: Encode>(value: &[T], out: &mut Writer) {
                super::write_list(out, $width, value);
            }

            pub(crate) fn read<T: Decode>(reader: &mut Reader<'_>) -> Result<Vec<T>, DecodeError> {
                super::read_list(reader, $width)
            }
        }
    )*};
}

vectors! {
    opaque8, list8 = 1;
    opaque16, list16 = 2;
    opaque32, list32 = 4;
}

/// A structure behind the number of its octets, in two octets.
pub(crate) mod within16 {
    use super::{Decode, DecodeError, Encode, Reader, Writer};

    pub(crate) fn write<T: Encode>(value: &T, out: &mut Writer) {
        out.vector(2, |out| value.encode(out));
    }

    pub(crate) fn read<T: Decode>(reader: &mut Reader<'_>) -> Result<T, DecodeError> {
        super::read_within(reader, 2, T::decode)
    }
}
