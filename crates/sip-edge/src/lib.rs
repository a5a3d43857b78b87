//! Component: SIP edge proxy and registrar.
