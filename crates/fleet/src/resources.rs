//! What a pod asks for and a node has: CPU, memory, GPUs and pod places.

use crate::quantity::{Bytes, Cpu};
use serde::{Deserialize, Serialize};
use std::ops::{Add, AddAssign, Sub};

/// An amount of each resource the planner knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Nanocores.
    pub cpu: Cpu,
    /// Bytes.
    pub memory: Bytes,
    /// Whole GPUs (`nvidia.com/gpu`).
    pub gpu: i64,
    /// Pods: 1 for a pod, the node's limit for a node.
    pub pods: i64,
}

impl Resources {
    /// Nothing.
    pub const ZERO: Resources = Resources { cpu: Cpu::ZERO, memory: Bytes::ZERO, gpu: 0, pods: 0 };

    /// Whether this fits into `room` in every resource.
    pub fn fits(self, room: Resources) -> bool {
        self.cpu <= room.cpu && self.memory <= room.memory && self.gpu <= room.gpu && self.pods <= room.pods
    }
    /// `count` times this.
    pub fn times(self, count: i64) -> Resources {
        Resources {
            cpu: Cpu::from_nanos(self.cpu.as_nanos().saturating_mul(count)),
            memory: Bytes::from_bytes(self.memory.as_bytes().saturating_mul(count)),
            gpu: self.gpu.saturating_mul(count),
            pods: self.pods.saturating_mul(count),
        }
    }
    /// The larger amount of each resource.
    pub fn max(self, other: Resources) -> Resources {
        Resources {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            gpu: self.gpu.max(other.gpu),
            pods: self.pods.max(other.pods),
        }
    }
    /// What is left of each resource, at least none.
    pub fn saturating_sub(self, other: Resources) -> Resources {
        Resources {
            cpu: self.cpu.saturating_sub(other.cpu),
            memory: self.memory.saturating_sub(other.memory),
            gpu: (self.gpu - other.gpu).max(0),
            pods: (self.pods - other.pods).max(0),
        }
    }
    /// How many of `each` fit into this, counted resource by resource; `None` when `each` asks for nothing.
    pub fn count_of(self, each: Resources) -> Option<i64> {
        [
            (self.cpu.as_nanos(), each.cpu.as_nanos()),
            (self.memory.as_bytes(), each.memory.as_bytes()),
            (self.gpu, each.gpu),
            (self.pods, each.pods),
        ]
        .into_iter()
        .filter(|(_, need)| *need > 0)
        .map(|(have, need)| have / need)
        .min()
    }
}

impl Add for Resources {
    type Output = Resources;
    fn add(self, other: Resources) -> Resources {
        Resources {
            cpu: self.cpu + other.cpu,
            memory: self.memory + other.memory,
            gpu: self.gpu.saturating_add(other.gpu),
            pods: self.pods.saturating_add(other.pods),
        }
    }
}
impl AddAssign for Resources {
    fn add_assign(&mut self, other: Resources) {
        *self = *self + other;
    }
}
impl Sub for Resources {
    type Output = Resources;
    /// May go below zero; see [`Resources::saturating_sub`].
    fn sub(self, other: Resources) -> Resources {
        Resources {
            cpu: self.cpu - other.cpu,
            memory: self.memory - other.memory,
            gpu: self.gpu - other.gpu,
            pods: self.pods - other.pods,
        }
    }
}
impl std::iter::Sum for Resources {
    fn sum<I: Iterator<Item = Resources>>(all: I) -> Resources {
        all.fold(Resources::ZERO, Add::add)
    }
}
