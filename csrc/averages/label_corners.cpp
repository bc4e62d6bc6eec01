#include "averages/label_corners.hpp"

#include <algorithm>
#include <cmath>

namespace spikedrf {

namespace {

// A step that is wider than this is resolved by any rule; one that is narrower is a jump at which
// panels end.
constexpr double kWide = 1.0;
constexpr double kJump = 1e-7;
constexpr double kReach = 9.0;

struct Place {
  double x, strip;
};

// The corners of phi at this V, and how round they are.
int places(Loss loss, double V, Place* out) {
  if (traits(loss).broken_line) {
    const Ramp ramp = ramp_of(loss);
    int count = 0;
    for (double bound : {ramp.lo, ramp.hi}) {
      if (std::fabs(bound) < Ramp::unbounded) out[count++] = {bound * (ramp.width + V), 0.0};
    }
    return count;
  }
  const Corners corners = corners_of(loss, V);
  out[0] = {corners.right, corners.strip};
  out[1] = {corners.left, corners.strip};
  return 2;
}

}  // namespace

bool LabelCorners::find(const Array<double>& kappa, const Array<CavityField>& field,
                        const LabelTable& labels, double gamma, double noise,
                        GaussianMoments& target) {
  constexpr int kRefinements = 8;
  corner_.clear();
  const bool signs = kind_ == LabelKind::sign;
  const bool margin = traits(loss_).margin;
  for (Index i = 0; i < kappa.size(); ++i) {
    const CavityField& here = field[i];
    const double width2 = signs ? here.t : here.t + noise * noise;
    Place place[2];
    const int count = places(loss_, here.V, place);
    for (int k = 0; k < count; ++k) {
      const double width = std::sqrt(width2 + place[k].strip * place[k].strip);
      if (signs) {
        // x = sigma (y - mean - s zeta) is linear in zeta.
        const double scale = width / std::fabs(here.s[0]);
        if (!(scale < kWide)) continue;
        for (double y : {1.0, -1.0}) {
          const double sigma = margin ? y : 1.0;
          const double at = (y - sigma * place[k].x - here.mean) / here.s[0];
          if (std::fabs(at) < kReach) corner_.push_back({i, at, scale, place[k].x, at, 0.0, 0.0});
        }
        continue;
      }
      double before = 0.0;
      for (Index j = labels.begin(i); j < labels.begin(i + 1); ++j) {
        const double zeta = labels.zeta()[j];
        const double now = labels.value()[j] - here.mean - here.s[0] * zeta - place[k].x;
        if (j > labels.begin(i) && (now < 0.0) != (before < 0.0)) {
          const double last = labels.zeta()[j - 1];
          const double scale = width * (zeta - last) / std::fabs(now - before);
          if (scale < kWide) corner_.push_back({i, last, scale, place[k].x, zeta, before, now});
        }
        before = now;
      }
    }
  }
  if (signs || corner_.empty()) return true;
  // All brackets together: the false position, which halves the value at an end that stays.
  const double sd = std::sqrt(std::max(0.0, (1.0 - gamma) * (1.0 + gamma)));
  Array<double> trial(corner_.size()), x(corner_.size()), value(3 * corner_.size());
  for (int refinement = 0; refinement < kRefinements; ++refinement) {
    for (Index c = 0; c < corner_.size(); ++c) {
      const Corner& corner = corner_[c];
      const double way = corner.other - corner.at;
      trial[c] = corner.left == corner.right
                     ? corner.at
                     : corner.at + way * corner.left / (corner.left - corner.right);
      x[c] = gamma * kappa[corner.node] + sd * trial[c];
    }
    double* const g = value.data();
    if (!target.evaluate(x.data(), x.size(), 0.0, 0, g, g + x.size(), g + 2 * x.size(), nullptr)) {
      return false;
    }
    for (Index c = 0; c < corner_.size(); ++c) {
      Corner& corner = corner_[c];
      const CavityField& here = field[corner.node];
      const double now = g[c] - here.mean - here.s[0] * trial[c] - corner.x;
      if ((now < 0.0) == (corner.right < 0.0)) {
        corner.other = trial[c];
        corner.right = now;
        corner.left *= 0.5;
      } else {
        corner.at = trial[c];
        corner.left = now;
        corner.right *= 0.5;
      }
    }
  }
  for (Corner& corner : corner_) {
    if (std::fabs(corner.right) < std::fabs(corner.left)) corner.at = corner.other;
  }
  return true;
}

void LabelCorners::add(Index node, Variation& variation) const {
  const auto first =
      std::lower_bound(corner_.begin(), corner_.end(), node,
                       [](const Corner& corner, Index which) { return corner.node < which; });
  for (auto at = first; at != corner_.end() && at->node == node; ++at) {
    variation.features.push_back({at->at, at->scale > kJump ? at->scale : 0.0});
  }
}

}  // namespace spikedrf
