//! What a catalog may say, and what it is told when it says something else.

mod advice;
mod diff;
mod examples;
mod in_force;
mod mangled;
mod mistakes;
mod prices;
