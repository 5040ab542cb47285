//! Device trees that tests change in ways that no compiler would produce: a duplicate name, half a
//! cell.

/// A node.
#[derive(Clone)]
pub struct Tree {
    /// The name.
    pub name: String,
    /// Names and values of the properties.
    pub properties: Vec<(String, Vec<u8>)>,
    /// The children.
    pub children: Vec<Tree>,
}

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

/// Bytes of the header.
const HEADER: usize = 40;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap();
    String::from_utf8(text.to_vec()).unwrap()
}

impl Tree {
    /// Reads a good tree.
    pub fn parse(dtb: &[u8]) -> Self {
        let strings = word(dtb, 12) as usize;
        let mut at = word(dtb, 8) as usize;
        let mut open: Vec<Tree> = Vec::new();
        loop {
            let token = word(dtb, at);
            at += 4;
            match token {
                BEGIN_NODE => {
                    let name = text(&dtb[at..]);
                    at += (name.len() + 1).next_multiple_of(4);
                    open.push(Self {
                        name,
                        properties: Vec::new(),
                        children: Vec::new(),
                    });
                }
                PROPERTY => {
                    let size = word(dtb, at) as usize;
                    let name = text(&dtb[strings + word(dtb, at + 4) as usize..]);
                    let value = dtb[at + 8..][..size].to_vec();
                    open.last_mut().unwrap().properties.push((name, value));
                    at += 8 + size.next_multiple_of(4);
                }
                END_NODE => {
                    let node = open.pop().unwrap();
                    match open.last_mut() {
                        Some(parent) => parent.children.push(node),
                        None => return node,
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns the flattened tree.
    pub fn to_dtb(&self) -> Vec<u8> {
        let (mut structure, mut strings) = (Vec::new(), Vec::new());
        self.write(&mut structure, &mut strings);
        structure.extend(END.to_be_bytes());
        let reservations = [0; 16];
        let behind = HEADER + reservations.len();
        let (structure_size, strings_size) = (structure.len(), strings.len());
        let header = [
            0xd00d_feed,
            behind + structure_size + strings_size,
            behind,
            behind + structure_size,
            HEADER,
            17,
            16,
            0,
            strings_size,
            structure_size,
        ];
        let mut dtb: Vec<u8> = Vec::new();
        dtb.extend(header.iter().flat_map(|word| (*word as u32).to_be_bytes()));
        dtb.extend(reservations);
        dtb.extend(structure);
        dtb.extend(strings);
        dtb
    }

    fn write(&self, structure: &mut Vec<u8>, strings: &mut Vec<u8>) {
        let pad = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(4), 0);
        structure.extend(BEGIN_NODE.to_be_bytes());
        structure.extend(self.name.bytes().chain([0]));
        pad(structure);
        for (name, value) in &self.properties {
            for word in [PROPERTY, value.len() as u32, strings.len() as u32] {
                structure.extend(word.to_be_bytes());
            }
            structure.extend(value);
            pad(structure);
            strings.extend(name.bytes().chain([0]));
        }
        for child in &self.children {
            child.write(structure, strings);
        }
        structure.extend(END_NODE.to_be_bytes());
    }

    /// Returns how many nodes there are.
    pub fn count(&self) -> usize {
        1 + self.children.iter().map(Self::count).sum::<usize>()
    }

    /// Returns the node with that number. Nodes are counted from the root in the order of the text.
    pub fn node(&mut self, number: usize) -> &mut Self {
        if number == 0 {
            return self;
        }
        let mut rest = number - 1;
        let child = self.children.iter_mut().find_map(|child| {
            let count = child.count();
            if rest < count {
                return Some(child);
            }
            rest -= count;
            None
        });
        child.expect("there are so many").node(rest)
    }
}
