//! `structure!`: a struct, its encoding and its decoding from one table of fields.

macro_rules! structure {
    ($(#[$doc:meta])* pub struct $name:ident {
        $($(#[$field_doc:meta])* pub $field:ident: $type:ty $(= $form:ident)?,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl crate::codec::Encode for $name {
            fn encode(&self, _out: &mut crate::codec::Writer) {
                $(form!(write, &self.$field, _out $(, $form)?);)*
            }
        }

        impl crate::codec::Decode for $name {
            fn decode(_reader: &mut crate::codec::Reader<'_>) -> Result<Self, crate::codec::DecodeError> {
                $(let $field = form!(read, _reader $(, $form)?)
                    .map_err(|error| error.within(concat!(stringify!($name), ".", stringify!($field))))?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}

macro_rules! form {
    (write, $value:expr, $out:expr) => {
        crate::codec::forms::own::write($value, $out)
    };
    (write, $value:expr, $out:expr, $form:ident) => {
        crate::codec::forms::$form::write($value, $out)
    };
    (read, $reader:expr) => {
        crate::codec::forms::own::read($reader)
    };
    (read, $reader:expr, $form:ident) => {
        crate::codec::forms::$form::read($reader)
    };
}
