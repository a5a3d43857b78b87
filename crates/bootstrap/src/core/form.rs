//! The form of RFC 6940 §11.3: an account, a password and one certificate request.
//!
//! It does not say what is to be enrolled: the account does. A token's id and secret are an account and a password too, and grant
//! what the token covers: so a foreign peer, which knows this form and nothing else of ours, is enrolled by an operator's token.

use bytes::Bytes;
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::enroll_request::Credential;

use super::enroll::Arrival;
use super::{Core, Outcome};
use crate::error::Refused;
use crate::state::NodeClass;

/// The fields of the form.
pub(crate) struct Form {
    pub(crate) account: String,
    pub(crate) password: String,
    pub(crate) csr: Bytes,
}

impl Core {
    /// Enrolls one node; the answer is its certificate.
    pub(crate) fn enroll_by_form(&mut self, arrival: Arrival, form: &Form) -> Outcome<Bytes> {
        let token = self.tokens.valid(&self.service, arrival.now_ms, &form.password);
        let token = token.filter(|token| token.id == form.account);
        let covers = |class| token.as_ref().is_some_and(|token| token.record.places(class) > 0);
        let credential = match token {
            Some(_) => Credential::Token(form.password.clone()),
            None => Credential::Password(proto::Password {
                user: form.account.clone(),
                password: form.password.clone(),
            }),
        };
        let (mut peer, mut client) = (Bytes::new(), Bytes::new());
        if covers(NodeClass::Peer) {
            peer = form.csr.clone();
        } else if covers(NodeClass::Edge) {
            // A second key and certificate are its delegated signer's, for which the form has no place.
            return Err(Refused::Invalid(
                "an edge needs two certificates, the form has one".to_owned(),
            ));
        } else {
            client = form.csr.clone();
        }
        let request = proto::EnrollRequest {
            credential: Some(credential),
            peer,
            client,
            ..Default::default()
        };
        let (enrolled, batch) = self.enroll(arrival, &request)?;
        let node = enrolled.peer.or(enrolled.client);
        let node = node.ok_or_else(|| Refused::Internal("nothing was enrolled".to_owned()))?;
        Ok((node.certificate, batch))
    }
}
