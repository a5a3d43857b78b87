//! The contracts only grow: what the last version says, this one understands, and the other way round. During an upgrade the components
//! of one peer are of two versions.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

/// The contracts of November 2026.
const BEFORE: &[u8] = include_bytes!("../../../tests/volumes/2026-11/contracts.bin");

#[test]
fn every_method_field_and_value_of_the_last_version_is_there_as_it_was() {
    let before = described(&FileDescriptorSet::decode(BEFORE).unwrap());
    let now = described(&FileDescriptorSet::decode(p2psip_rpc::proto::DESCRIPTORS).unwrap());
    assert!(before.len() > 100, "{}", before.len());
    for (name, what) in &before {
        assert_eq!(now.get(name), Some(what), "{name} is gone or another");
    }
}

/// The facts that both ends of a connection must agree upon, by name or number.
fn described(set: &FileDescriptorSet) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in &set.file {
        let package = file.package();
        for service in &file.service {
            for method in &service.method {
                let streams = (method.client_streaming(), method.server_streaming());
                let what = format!("{} -> {} {streams:?}", method.input_type(), method.output_type());
                found.insert(format!("{package}.{}/{}", service.name(), method.name()), what);
            }
        }
        for message in &file.message_type {
            fields(package, message, &mut found);
        }
        for list in &file.enum_type {
            values(package, list, &mut found);
        }
    }
    found
}

/// On the wire a field is its number and type; its name is ours alone, and still no reason to change it.
fn fields(package: &str, message: &DescriptorProto, found: &mut BTreeMap<String, String>) {
    let name = format!("{package}.{}", message.name());
    for field in &message.field {
        let what = format!(
            "{} {:?} {:?} {}",
            field.name(),
            field.r#type(),
            field.label(),
            field.type_name()
        );
        found.insert(format!("{name} field {}", field.number()), what);
    }
    for inner in &message.nested_type {
        fields(&name, inner, found);
    }
    for list in &message.enum_type {
        values(&name, list, found);
    }
}

fn values(package: &str, list: &EnumDescriptorProto, found: &mut BTreeMap<String, String>) {
    for value in &list.value {
        found.insert(
            format!("{package}.{} value {}", list.name(), value.number()),
            value.name().to_owned(),
        );
    }
}
