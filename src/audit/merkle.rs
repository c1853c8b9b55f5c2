//! Hash trees: roots, proofs that something is in one, proofs that one only grew.
//!
//! Spec: RFC 6962 section 2.1; the checks follow RFC 9162 sections 2.1.3.2 and 2.1.4.2.

use sha2::{Digest as _, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The hash of a leaf.
pub fn leaf(bytes: &[u8]) -> Hash {
    Sha256::new_with_prefix([0]).chain_update(bytes).finalize().into()
}

/// The hash over two nodes.
fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root over `leaves`.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: usize) -> usize {
    size.next_power_of_two() / 2
}

/// The nodes by which the root follows from the leaf at `index`: nearest first.
pub fn inclusion(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if leaves.len() < 2 || index >= leaves.len() {
        return Vec::new();
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut path, sibling) = if index < at {
        (inclusion(left, index), root(right))
    } else {
        (inclusion(right, index - at), root(left))
    };
    path.push(sibling);
    path
}

/// Whether `path` shows that `leaf` is the one at `index` of a tree of `size` leaves with `root`.
pub fn includes(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut number, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if number & 1 == 1 || number == last {
            hash = node(sibling, &hash);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The nodes by which the tree over all `leaves` is shown to have the first `old` as it had them.
pub fn consistency(leaves: &[Hash], old: usize) -> Vec<Hash> {
    if old == 0 || old >= leaves.len() {
        return Vec::new();
    }
    grown(leaves, old, true)
}

fn grown(leaves: &[Hash], old: usize, is_whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if is_whole { Vec::new() } else { vec![root(leaves)] };
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut path, sibling) = if old <= at {
        (grown(left, old, is_whole), root(right))
    } else {
        (grown(right, old - at, false), root(left))
    };
    path.push(sibling);
    path
}

/// A tree that is known by its size and its root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tree {
    /// How many leaves it has.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

/// Whether `path` shows that `new` is `old` with more leaves behind, or none.
pub fn is_consistent(old: Tree, new: Tree, path: &[Hash]) -> bool {
    if old.size == new.size {
        return path.is_empty() && old.root == new.root;
    }
    if old.size == 0 || old.size > new.size {
        return old.size == 0 && path.is_empty();
    }
    let (mut number, mut last) = (old.size - 1, new.size - 1);
    while number & 1 == 1 {
        number >>= 1;
        last >>= 1;
    }
    let mut rest = path.iter();
    // A tree of a power of two is its own first node.
    let first = if old.size.is_power_of_two() { Some(&old.root) } else { rest.next() };
    let Some(first) = first else { return false };
    let (mut before, mut after) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if number & 1 == 1 || number == last {
            before = node(sibling, &before);
            after = node(sibling, &after);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            after = node(&after, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    last == 0 && before == old.root && after == new.root
}

/// A tree that grows: keeps the roots of its whole parts alone.
#[derive(Clone, Debug, Default)]
pub struct Growing {
    size: u64,
    /// The roots of the parts, by the set bits of the size, largest first.
    parts: Vec<Hash>,
}

impl Growing {
    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Puts a leaf behind the others.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.parts.pop() {
                hash = node(&left, &hash);
            }
        }
        self.parts.push(hash);
        self.size += 1;
    }

    /// The root over what it has.
    pub fn root(&self) -> Hash {
        let mut parts = self.parts.iter().rev();
        let Some(last) = parts.next() else { return root(&[]) };
        parts.fold(*last, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hex;
    use super::*;

    fn leaves(count: u32) -> Vec<Hash> {
        (0..count).map(|number| leaf(&number.to_be_bytes())).collect()
    }

    #[test]
    fn roots_are_those_of_the_published_test_vectors() {
        // The inputs and roots that implementations of Certificate Transparency share.
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let all: Vec<_> = inputs.iter().map(|input| leaf(input)).collect();
        for (size, expected) in [
            (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ] {
            assert_eq!(hex(&root(&all[..size])), expected, "{size}");
        }
    }

    #[test]
    fn every_leaf_is_shown_to_be_in_its_place_and_nowhere_else() {
        for size in 1..40_u32 {
            let all = leaves(size);
            let root = root(&all);
            for index in 0..size {
                let path = inclusion(&all, index as usize);
                let leaf = &all[index as usize];
                for place in 0..size {
                    let is_there = includes(leaf, place.into(), size.into(), &path, &root);
                    assert_eq!(is_there, place == index, "{index} as {place} of {size}");
                }
                assert!(!includes(leaf, size.into(), size.into(), &path, &root));
                assert!(!includes(&[7; 32], index.into(), size.into(), &path, &root));
            }
        }
    }

    #[test]
    fn growth_is_shown_from_every_size_to_every_later_one() {
        for new in 1..40_u32 {
            let all = leaves(new);
            let tree = |size: u32| Tree { size: size.into(), root: root(&all[..size as usize]) };
            for old in 0..=new {
                let path = consistency(&all, old as usize);
                assert!(is_consistent(tree(old), tree(new), &path), "{old} to {new}");
                if old > 0 {
                    let other = Tree { root: [7; 32], ..tree(old) };
                    assert!(!is_consistent(other, tree(new), &path), "{old} to {new}");
                    let other = Tree { root: [7; 32], ..tree(new) };
                    assert!(!is_consistent(tree(old), other, &path), "{old} to {new}");
                }
                if old < new && old > 0 {
                    assert!(!is_consistent(tree(new), tree(old), &path), "{new} to {old}");
                }
            }
        }
    }

    #[test]
    fn a_growing_tree_has_the_root_of_all_its_leaves() {
        let (all, mut growing) = (leaves(100), Growing::default());
        for (size, leaf) in all.iter().enumerate() {
            assert_eq!(growing.root(), root(&all[..size]), "{size}");
            growing.push(*leaf);
            assert_eq!(growing.size(), size as u64 + 1);
        }
    }

    proptest! {
        #[test]
        fn a_proof_with_any_changed_bit_proves_nothing(
            size in 2..200_u32, index in 0..200_u32, bit in 0..4_096_usize,
        ) {
            let all = leaves(size);
            let index = index % size;
            let mut path = inclusion(&all, index as usize);
            let bit = bit % (path.len() * 256);
            path[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
            let leaf = &all[index as usize];
            prop_assert!(!includes(leaf, index.into(), size.into(), &path, &root(&all)));
        }
    }
}
