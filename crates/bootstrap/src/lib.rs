//! Component: configuration document, enrollment and user administration.
