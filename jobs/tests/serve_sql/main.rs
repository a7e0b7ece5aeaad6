//! The SQL server: logins, tenants, limits, and that nothing but reading is possible.

mod catalog;
mod clients;
mod denied;
mod limits;
mod load;
mod login;
mod protocol;
mod wire;
mod world;
