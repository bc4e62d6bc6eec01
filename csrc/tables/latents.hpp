// Which latent coordinates of the inputs the equations know (theory.md, section 12).
#pragma once

namespace spikedrf {

// Orthonormal directions, in this order: `spans` of them are those of the spikes, which kappa
// fixes; along the next, up to `coupled`, the means of classes differ; along the `free` ones the
// inputs have mean zero whatever kappa is. What a readout makes of a coupled direction l is the
// column E[s_l | kappa] mu1_k of group k; of a free one it sees nothing but the labels' correlation
// with it. With `lengths` there is one more column for each group: lengths of its neurons
// fluctuate. One spike and one direction of the target are v and xi: the default.
struct Latents {
  int spans = 1;
  int coupled = 1;
  int free = 1;
  bool lengths = false;

  int directions() const { return coupled + free; }
  int rest() const { return directions() - spans; }
  // Functions of kappa that the readout pays for.
  int columns(int groups) const { return (coupled + (lengths ? 1 : 0)) * groups; }
};

}  // namespace spikedrf
