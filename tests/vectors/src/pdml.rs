//! Reads tshark's PDML: what it saw in each packet, as a tree of fields with their places.

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

/// A field, or a protocol.
#[derive(Clone, Debug, Default)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) show: String,
    pub(crate) showname: String,
    /// First octet in the packet, and number of octets.
    pub(crate) place: (usize, usize),
    pub(crate) fields: Vec<Field>,
}

impl Field {
    /// Collects this field and all below it, outer ones first.
    pub(crate) fn all(&self) -> Vec<&Field> {
        let mut all = vec![self];
        for field in &self.fields {
            all.extend(field.all());
        }
        all
    }

    /// Finds the first field of that name here or below.
    pub(crate) fn find(&self, name: &str) -> Option<&Field> {
        self.all().into_iter().find(|field| field.name == name)
    }
}

/// Reads the packets of a PDML document.
pub(crate) fn packets(document: &str) -> Result<Vec<Field>, quick_xml::Error> {
    let mut reader = Reader::from_str(document);
    let mut packets = Vec::new();
    let mut open: Vec<Field> = Vec::new();
    loop {
        match reader.read_event()? {
            Event::Start(element) if !is_root(&element) => open.push(field(&element)?),
            Event::Empty(element) => close(field(&element)?, &mut open, &mut packets),
            Event::End(_) => {
                if let Some(field) = open.pop() {
                    close(field, &mut open, &mut packets);
                }
            }
            Event::Eof => return Ok(packets),
            _ => {}
        }
    }
}

fn is_root(element: &BytesStart<'_>) -> bool {
    element.name().as_ref() == "pdml"
}

fn close(field: Field, open: &mut [Field], packets: &mut Vec<Field>) {
    match open.last_mut() {
        Some(outer) => outer.fields.push(field),
        None => packets.push(field),
    }
}

fn field(element: &BytesStart<'_>) -> Result<Field, quick_xml::Error> {
    let mut field = Field::default();
    for attribute in element.attributes() {
        let attribute = attribute?;
        let value = attribute.normalized_value(XmlVersion::default())?.into_owned();
        match attribute.key.as_ref() {
            "name" => field.name = value,
            "show" => field.show = value,
            "showname" => field.showname = value,
            "pos" => field.place.0 = value.parse().unwrap_or_default(),
            "size" => field.place.1 = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    Ok(field)
}
