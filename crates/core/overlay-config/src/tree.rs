//! XML as a small tree with the byte span of each element.
//!
//! Signatures cover raw bytes, so each element remembers where it stands. Whatever lets a document
//! grow beyond its own bytes (DTDs, entities) is refused.

use std::ops::Range;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::error::Error;

/// One element.
#[derive(Debug, Clone, Default)]
pub(crate) struct Element {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
    pub(crate) span: Range<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    /// Empty for attributes without prefix, which belong to their element.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Element {
    /// Its direct children of this name.
    pub(crate) fn all<'a>(&'a self, namespace: &'a str, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children
            .iter()
            .filter(move |child| child.namespace == namespace && child.name == name)
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self
            .attributes
            .iter()
            .find(|attribute| attribute.namespace.is_empty() && attribute.name == name);
        found.map(|attribute| attribute.value.as_str())
    }
}

/// Prefixes and what they stand for; the last binding of a prefix counts.
pub(crate) type Bindings = Vec<(String, String)>;

/// Parses a document with one root element; `outer` are bindings from around it.
pub(crate) fn parse(xml: &str, outer: &Bindings) -> Result<Element, Error> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut builder = Builder {
        bindings: outer.clone(),
        open: Vec::new(),
        root: None,
    };
    loop {
        let start = position(&reader);
        let event = reader
            .read_event()
            .map_err(|error| malformed(position(&reader), error))?;
        let end = position(&reader);
        match event {
            Event::Start(tag) => builder.open(&tag, start)?,
            Event::End(_) => builder.close(start, end)?,
            Event::Text(text) => builder.text(&text.xml10_content(), start)?,
            Event::CData(text) => builder.text(&text.xml10_content(), start)?,
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|error| malformed(start, error))?;
                match character {
                    Some(character) => builder.text(character.encode_utf8(&mut [0; 4]), start)?,
                    None => builder.text(predefined(&reference, start)?, start)?,
                }
            }
            Event::DocType(_) => {
                return Err(Error::Forbidden {
                    at: start,
                    what: "a document type declaration",
                });
            }
            Event::Eof => return builder.finish(end),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

/// Namespace bindings that the attributes of an element make.
pub(crate) fn bindings(element: &Element) -> Bindings {
    let declared = element
        .attributes
        .iter()
        .filter(|attribute| attribute.namespace == XMLNS);
    declared
        .map(|attribute| (attribute.name.clone(), attribute.value.clone()))
        .collect()
}

struct Builder {
    bindings: Bindings,
    /// Open elements, each with the number of bindings before it.
    open: Vec<(Element, usize)>,
    root: Option<Element>,
}

impl Builder {
    fn open(&mut self, tag: &BytesStart<'_>, at: usize) -> Result<(), Error> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Error::Forbidden {
                at,
                what: "elements nested too deeply",
            });
        }
        if self.open.is_empty() && self.root.is_some() {
            return Err(Error::Malformed {
                at,
                reason: "a second root element".to_owned(),
            });
        }
        let before = self.bindings.len();
        let mut raw = Vec::new();
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|error| malformed(at, error))?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| malformed(at, error))?
                .into_owned();
            let (prefix, name) = split(attribute.key.as_ref());
            match (prefix, name) {
                ("", "xmlns") => self.bindings.push((String::new(), value.clone())),
                ("xmlns", name) => self.bindings.push((name.to_owned(), value.clone())),
                _ => {}
            }
            raw.push((prefix.to_owned(), name.to_owned(), value));
        }
        let mut element = Element {
            span: at..at,
            ..Element::default()
        };
        for (prefix, name, value) in raw {
            let (namespace, name) = match (prefix.as_str(), name.as_str()) {
                ("", "xmlns") => (XMLNS.to_owned(), String::new()),
                ("xmlns", _) => (XMLNS.to_owned(), name),
                ("", _) => (String::new(), name),
                ("xml", _) => ("xml".to_owned(), name),
                _ => (self.resolve(&prefix, at)?, name),
            };
            element.attributes.push(Attribute { namespace, name, value });
        }
        let tag_name = tag.name();
        let (prefix, name) = split(tag_name.as_ref());
        element.namespace = self.resolve(prefix, at)?;
        name.clone_into(&mut element.name);
        self.open.push((element, before));
        Ok(())
    }

    fn close(&mut self, at: usize, end: usize) -> Result<(), Error> {
        let Some((mut element, before)) = self.open.pop() else {
            return Err(Error::Malformed {
                at,
                reason: "an end tag without its start tag".to_owned(),
            });
        };
        element.span.end = end;
        self.bindings.truncate(before);
        match self.open.last_mut() {
            Some((parent, _)) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str, at: usize) -> Result<(), Error> {
        match self.open.last_mut() {
            Some((element, _)) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => {
                return Err(Error::Malformed {
                    at,
                    reason: "text outside the root element".to_owned(),
                });
            }
        }
        Ok(())
    }

    fn finish(self, at: usize) -> Result<Element, Error> {
        if !self.open.is_empty() {
            return Err(Error::Malformed {
                at,
                reason: "it ends inside an element".to_owned(),
            });
        }
        self.root.ok_or_else(|| Error::Malformed {
            at,
            reason: "it has no element".to_owned(),
        })
    }

    fn resolve(&self, prefix: &str, at: usize) -> Result<String, Error> {
        match self.bindings.iter().rev().find(|(bound, _)| bound == prefix) {
            Some((_, namespace)) => Ok(namespace.clone()),
            None if prefix.is_empty() => Ok(String::new()),
            None => Err(Error::Malformed {
                at,
                reason: format!("prefix {prefix:?} is not bound"),
            }),
        }
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("", name))
}

/// The five entities that XML itself defines; there are no others without a DTD.
fn predefined(name: &str, at: usize) -> Result<&'static str, Error> {
    match name {
        "lt" => Ok("<"),
        "gt" => Ok(">"),
        "amp" => Ok("&"),
        "quot" => Ok("\""),
        "apos" => Ok("'"),
        _ => Err(Error::Forbidden {
            at,
            what: "an entity of its own",
        }),
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn malformed(at: usize, error: impl std::fmt::Display) -> Error {
    Error::Malformed {
        at,
        reason: error.to_string(),
    }
}

/// The namespace of namespace declarations.
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";
/// Deeper than any document of RFC 6940 §11.1 with extensions.
const MAX_DEPTH: usize = 16;
