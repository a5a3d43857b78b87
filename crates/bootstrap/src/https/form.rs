//! The form of RFC 6940 §11.3: a user name, a password and a certificate request.

use axum::extract::Multipart;
use axum::extract::multipart::Field;
use bytes::Bytes;

use super::routes::Failure;
use crate::core::Form;

/// The fields that count; others are ignored.
#[derive(Default)]
pub(super) struct Fields {
    username: Option<String>,
    password: Option<String>,
    nodeids: Option<String>,
    csr: Option<Bytes>,
}

impl Fields {
    pub(super) async fn read(mut multipart: Multipart) -> Result<Fields, Failure> {
        let mut form = Fields::default();
        while let Some(field) = multipart.next_field().await.map_err(bad)? {
            match field.name() {
                Some("username") => form.username = Some(field.text().await.map_err(bad)?),
                Some("password") => form.password = Some(field.text().await.map_err(bad)?),
                Some("nodeids") => form.nodeids = Some(field.text().await.map_err(bad)?),
                Some("csr") => form.csr = Some(request(field).await?),
                _ => {}
            }
        }
        Ok(form)
    }

    /// The request that they make.
    pub(super) fn into_form(self) -> Result<Form, Failure> {
        // RFC 6940 §11.3: how many Node-IDs are wanted; here a certificate has one.
        if self.nodeids.is_some_and(|count| count.trim() != "1") {
            return Err(Failure::NodeIds);
        }
        let (Some(account), Some(password)) = (self.username, self.password) else {
            return Err(Failure::NotAuthenticated);
        };
        Ok(Form {
            account,
            password,
            csr: self.csr.ok_or(Failure::BadRequest)?,
        })
    }
}

async fn request(field: Field<'_>) -> Result<Bytes, Failure> {
    match field.content_type() {
        // RFC 6940 §11.3: with this content type.
        Some("application/pkcs10") => field.bytes().await.map_err(bad),
        _ => Err(Failure::BadRequest),
    }
}

fn bad<E>(_: E) -> Failure {
    Failure::BadRequest
}
