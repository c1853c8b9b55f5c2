//! What a token reaches, by every way to a resource.

mod acts;
mod binary;
mod consent;
mod cost;
mod everything;
mod graphql;
mod labels;
mod masked;
mod measured;
mod named;
mod parts;
mod property;
mod provisions;
mod purpose;
mod reads;
mod roles;
mod rules;
mod search;
mod source;
mod state;
mod summary;
mod timing;
mod tripwire;
mod writes;
