// Which latent coordinates of the inputs the equations know (theory.md, section 12).
#pragma once

namespace spikedrf {

// Orthonormal directions, in this order: `spans` of them are those of the spikes, which kappa
// fixes; along the next, up to `coupled`, the means of classes differ; along the `free` ones the
// inputs have mean zero whatever kappa is. What a readout makes of a coupled direction l is the
// column E[s_l | kappa] mu1_k of group k; of a free one it sees nothing but the labels' correlation
// with it. With `lengths` there is one more column for each group: lengths of its neurons
// fluctuate. Of the directions beside kappa labels depend on those whose bit is set in `labelled`.
// One spike and one direction of the target are v and xi: the default.
struct Latents {
  int spans = 1;
  int coupled = 1;
  int free = 1;
  bool lengths = false;
  unsigned labelled = 1;

  int directions() const { return coupled + free; }
  int rest() const { return directions() - spans; }
  // Place of the l-th direction beside kappa among those that labels depend on, -1 if they do not.
  int label_axis(int l) const {
    if ((labelled >> l & 1u) == 0) return -1;
    int axis = 0;
    for (int before = 0; before < l; ++before) axis += static_cast<int>(labelled >> before & 1u);
    return axis;
  }
  int label_directions() const {
    int count = 0;
    for (int l = 0; l < rest(); ++l) count += static_cast<int>(labelled >> l & 1u);
    return count;
  }
  // Functions of kappa that the readout pays for.
  int columns(int groups) const { return (coupled + (lengths ? 1 : 0)) * groups; }
};

// What features see of inputs of several classes: a class has its share of the samples, latents are
// N(mean, 1) in it along the spike, and have their means in the other coupled directions. For
// spectra, which know no labels; without classes inputs are N(0, I).
struct Classes {
  int count = 0;
  int directions = 1;              // coupled ones, the spike's first
  const double* share = nullptr;   // count, sums to one
  const double* mean = nullptr;    // count x directions
  const double* spread = nullptr;  // groups: d times the variance of lengths; null if they are one

  int size() const { return count > 0 ? count : 1; }
  double share_of(int i) const { return count > 0 ? share[i] : 1.0; }
  double mean_of(int i, int l) const { return count > 0 ? mean[i * directions + l] : 0.0; }
};

}  // namespace spikedrf
