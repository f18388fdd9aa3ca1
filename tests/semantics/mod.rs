//! One test for each row of the tree's operation table.
