//! Black-box tests of the server, one module a chapter, and the rules of the source tree.

mod architecture;
mod store_sql;
