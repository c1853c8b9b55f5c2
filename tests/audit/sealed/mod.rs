//! What is sealed stays as it is: whatever is changed, taken away or put in is named.

mod mutations;
mod retire;
mod retirements;
mod seal;
