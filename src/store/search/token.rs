//! Tokens, references and uris: what is found by its whole, and what `toks` knows.

use crate::error::Error;
use crate::search::request::compare::{AskedReference, AskedToken, AskedUri};
use crate::search::values::token::{Case, Code};
use crate::store::hash::Hasher;

use super::atom::{Atom, Parameter};
use super::compile::{Compiler, Row};
use super::sql::{Bind, Cond};

pub(super) mod coded;

impl Compiler<'_, '_> {
    /// The conditions of which one holds when a token or sign among `atoms` is in the row.
    pub(super) fn tokens(&mut self, atoms: &[Atom], row: &Row<'_>) -> Vec<Cond> {
        let (mut marks, mut keys, mut signs) = (Vec::new(), Vec::new(), Vec::new());
        let mut present = Vec::new();
        for atom in atoms {
            match *atom {
                Atom::Token { mark: Some(mark), .. } if row.toks.is_some() => marks.push(mark),
                Atom::Token { mark: Some(mark), .. } if row.s.is_none() => signs.push(mark),
                Atom::Token { h, system, .. } => keys.push((h, system)),
                Atom::Present(code, bits) => present.push((code, bits)),
                Atom::Sign(sign) | Atom::System(sign) => signs.push(sign),
                _ => {}
            }
        }
        let mut any = Vec::new();
        if let Some(all) = &row.signs {
            marks.append(&mut signs);
            signs = std::mem::take(&mut marks);
            if !signs.is_empty() {
                any.push(Cond::Sql(Self::overlaps(&mut self.binds, all, &signs)));
            }
        } else if !signs.is_empty() {
            // One look at the resource answers for both kinds.
            any.push(self.resource_column(row, None, "toks", |binds, toks| {
                Self::overlaps(binds, toks, &signs)
            }));
        }
        if let (Some(toks), false) = (&row.toks, marks.is_empty()) {
            any.push(Cond::Sql(Self::overlaps(&mut self.binds, toks, &marks)));
        }
        if !keys.is_empty() {
            any.push(self.keys_exist(&keys, row));
        }
        if !present.is_empty() {
            any.push(self.are_present(&present, row));
        }
        any
    }

    /// The condition that one of the parameters has a value.
    fn are_present(&mut self, asked: &[(i16, i64)], row: &Row<'_>) -> Cond {
        if let (Some(present), Some(rt)) = (&row.present, &row.rt) {
            let at_hand = (&**present, &**rt);
            return Cond::Sql(Self::is_present(&mut self.binds, at_hand, asked, &row.types));
        }
        let (alias, rid) = (self.alias(), &row.rid);
        let (present, rt) = (format!("{alias}.present"), format!("{alias}.rt"));
        let is_there = Self::is_present(&mut self.binds, (&present, &rt), asked, &row.types);
        Cond::exists(&format!("srow {alias} WHERE {alias}.rid = {rid} AND {is_there}"))
    }

    fn keys_exist(&mut self, keys: &[(i64, Option<i32>)], row: &Row<'_>) -> Cond {
        let Some(s) = &row.s else {
            let (alias, rid) = (self.alias(), &row.rid);
            let found = Row::resource(&alias, row.types.clone());
            let exist = self.keys_exist(keys, &found).and();
            return Cond::exists(&format!("srow {alias} WHERE {alias}.rid = {rid}{exist}"));
        };
        let (alias, rid) = (self.alias(), &row.rid);
        let place = format!("{alias}.s = {s} AND {alias}.rid = {rid}");
        if keys.iter().all(|(_, system)| system.is_none()) {
            let hashes: Vec<i64> = keys.iter().map(|(h, _)| *h).collect();
            let is_here = self.binds.is_one_of(&format!("{alias}.h"), &hashes);
            return Cond::exists(&format!("tok {alias} WHERE {is_here} AND {place}"));
        }
        if let [(h, Some(system))] = keys {
            let (h, system) = (self.binds.long(*h), self.binds.add(Bind::Int(*system)));
            return Cond::exists(&format!(
                "tok {alias} WHERE {alias}.h = {h} AND {alias}.sysh = {system} AND {place}"
            ));
        }
        let (list, pairs) = (self.alias(), self.pairs(keys));
        Cond::exists(&format!(
            "{pairs} {list}(h, y) JOIN tok {alias} ON {alias}.h = {list}.h AND {place} \
             WHERE {list}.y IS NULL OR {alias}.sysh = {list}.y"
        ))
    }

    /// Keys of `tok` as a list of rows; a system of NULL is any.
    pub(super) fn pairs(&mut self, keys: &[(i64, Option<i32>)]) -> String {
        let hashes = self.binds.longs(keys.iter().map(|(h, _)| *h));
        let systems = keys.iter().map(|(_, system)| *system).collect();
        format!("unnest({hashes}, {})", self.binds.add(Bind::Ints(systems)))
    }

    /// Adds the atoms of a token.
    pub(super) fn token(
        &mut self,
        asked: &AskedToken,
        parameter: &Parameter,
        atoms: &mut Vec<Atom>,
    ) -> Result<(), Error> {
        for of in parameter.values() {
            let code = |code: &Code<'_>| self.hasher.token(of, code);
            match asked {
                AskedToken::Code(codes) => atoms.extend(codes.iter().map(|it| any(code(it)))),
                AskedToken::WithoutSystem(codes) => {
                    atoms.extend(codes.iter().map(|it| qualified(self.hasher, code(it), 0)));
                }
                AskedToken::Coded { system, code: it } => {
                    let system = self.hasher.token_system(of, Some(system));
                    atoms.push(qualified(self.hasher, code(it), system));
                }
                AskedToken::OfType { system, code: it, value } => {
                    atoms.push(any(self.hasher.of_type(of, Some(system), it, value)));
                }
                AskedToken::System(system) => {
                    atoms.push(Atom::System(self.hasher.of_system(of, system)));
                }
                AskedToken::Begins { .. } => {
                    return Err(Error::internal("how a code begins is asked of the body"));
                }
            }
        }
        Ok(())
    }

    /// Adds the atoms of a reference.
    pub(super) fn reference(
        &mut self,
        asked: &AskedReference,
        parameter: &Parameter,
        atoms: &mut Vec<Atom>,
    ) -> Result<(), Error> {
        match asked {
            AskedReference::Identifier(token) => self.identifier(token, parameter, atoms)?,
            AskedReference::Local { resource_type, id, version } => {
                let identity = self.hasher.identity(*resource_type, id);
                atoms.extend(parameter.to(*resource_type).into_iter().map(|of| {
                    any(match version {
                        Some(version) => self.hasher.reference_version(of, identity, *version),
                        None => Hasher::reference(of, identity),
                    })
                }));
            }
            AskedReference::Canonical(uri) => self.uri(uri, &parameter.elsewhere(), atoms),
            AskedReference::Url(text) => {
                let hashes = parameter.elsewhere();
                atoms.extend(hashes.into_iter().map(|of| any(self.hasher.url(of, text))));
            }
        }
        Ok(())
    }

    fn identifier(
        &self,
        asked: &AskedToken,
        parameter: &Parameter,
        atoms: &mut Vec<Atom>,
    ) -> Result<(), Error> {
        // The case of an identifier's value counts.
        let exact = |codes: &[Code<'static>]| -> Vec<String> {
            let exact = codes.iter().filter(|code| code.case == Case::Sensitive);
            exact.map(|code| code.text.clone().into_owned()).collect()
        };
        for of in parameter.elsewhere() {
            let value = |value: &str| self.hasher.identifier(of, value);
            match asked {
                AskedToken::Code(codes) => {
                    atoms.extend(exact(codes).iter().map(|it| any(value(it))));
                }
                AskedToken::WithoutSystem(codes) => {
                    let hashes = exact(codes);
                    atoms.extend(hashes.iter().map(|it| qualified(self.hasher, value(it), 0)));
                }
                AskedToken::Coded { system, code } => {
                    let system = self.hasher.token_system(of, Some(system));
                    atoms.push(qualified(self.hasher, value(&code.text), system));
                }
                AskedToken::System(system) => {
                    atoms.push(Atom::System(self.hasher.of_system(of, system)));
                }
                AskedToken::OfType { .. } | AskedToken::Begins { .. } => {
                    return Err(Error::internal("an identifier is asked for by what it has not"));
                }
            }
        }
        Ok(())
    }

    /// Adds the atoms of a uri.
    pub(super) fn uri(&mut self, asked: &AskedUri, hashes: &[i64], atoms: &mut Vec<Atom>) {
        match asked {
            AskedUri::Is { url, version, is_version_below, fragment } => match version {
                Some(version) if *is_version_below => {
                    let texts = hashes.iter().map(|&of| self.hasher.uri_text(of)).collect();
                    atoms.push(self.version_below(url, version, texts));
                }
                Some(version) => {
                    let system = self.hasher.system(Some(version));
                    atoms.extend(hashes.iter().map(|&of| {
                        let h = self.hasher.url(of, url);
                        qualified(self.hasher, h, system)
                    }));
                }
                None => {
                    // Without a version, a fragment is stored as a part of the url.
                    let whole = fragment.as_ref().map(|fragment| format!("{url}#{fragment}"));
                    for url in std::iter::once(&**url).chain(whole.as_deref()) {
                        atoms.extend(hashes.iter().map(|&of| any(self.hasher.url(of, url))));
                    }
                }
            },
            AskedUri::Below(beginning) => {
                let texts = hashes.iter().map(|&of| self.hasher.uri_text(of)).collect();
                atoms.push(self.uri_below(beginning, texts));
            }
            AskedUri::Above(uri) => {
                let ends = uri.char_indices().map(|(at, _)| at).skip(1).chain([uri.len()]);
                for end in ends {
                    let beginning = &uri[..end];
                    atoms.extend(hashes.iter().map(|&of| any(self.hasher.url(of, beginning))));
                }
            }
        }
    }
}

/// A row of `tok` with whatever system.
pub(super) fn any(h: i64) -> Atom {
    Atom::Token { h, system: None, mark: Some(h) }
}

/// A row of `tok` with this system, or 0 for none: of that, `toks` says nothing.
pub(super) fn qualified(hasher: &Hasher, h: i64, system: i32) -> Atom {
    let mark = (system != 0).then(|| hasher.qualified(h, system));
    Atom::Token { h, system: Some(system), mark }
}
