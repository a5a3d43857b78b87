//! The form of RFC 6940 §11.3: a user name, a password and a certificate request.

use axum::extract::Multipart;
use axum::extract::multipart::Field;
use bytes::Bytes;
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::enroll_request::Credential;

use super::routes::Failure;

/// The fields that count; others are ignored.
#[derive(Default)]
pub(super) struct Form {
    username: Option<String>,
    password: Option<String>,
    nodeids: Option<String>,
    csr: Option<Bytes>,
}

impl Form {
    pub(super) async fn read(mut multipart: Multipart) -> Result<Form, Failure> {
        let mut form = Form::default();
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

    /// A user's password enrolls that user's own client; with the user name `token`, a token's secret enrolls a peer.
    pub(super) fn into_request(self) -> Result<proto::EnrollRequest, Failure> {
        // RFC 6940 §11.3: how many Node-IDs are wanted; here a certificate has one.
        if self.nodeids.is_some_and(|count| count.trim() != "1") {
            return Err(Failure::NodeIds);
        }
        let (Some(user), Some(password)) = (self.username, self.password) else {
            return Err(Failure::NotAuthenticated);
        };
        let csr = self.csr.ok_or(Failure::BadRequest)?;
        Ok(if user == TOKEN {
            proto::EnrollRequest {
                credential: Some(Credential::Token(password)),
                peer: csr,
                ..Default::default()
            }
        } else {
            proto::EnrollRequest {
                credential: Some(Credential::Password(proto::Password { user, password })),
                client: csr,
                ..Default::default()
            }
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

/// No AOR is spelt so.
const TOKEN: &str = "token";
