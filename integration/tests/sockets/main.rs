//! What processes see of the socket hooks: they dial a VIP, they hear of the VIP, and in between they
//! talk to a backend.

mod asker;
mod node;
mod vip;
