//! The SQL server: logins, tenants, limits, and that nothing but reading is possible.

mod catalog;
mod clients;
mod denied;
#[path = "../reports/world.rs"]
#[expect(dead_code, reason = "programs ask here, not ours")]
mod golden;
mod limits;
mod load;
mod login;
mod parameters;
mod protocol;
mod reports;
mod wire;
mod world;
