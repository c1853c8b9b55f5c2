//! JSON and XML, in and out.
