// The rules over kappa of one class of inputs: kappa = mean + z, z ~ N(0, 1).
#pragma once

#include <cmath>

#include "numerics/array.hpp"
#include "numerics/quadrature.hpp"
#include "tables/labels.hpp"
#include "tables/moments.hpp"

namespace spikedrf {

// How features or labels vary with z where they are functions of offset + slope z + sd N(0, 1).
inline void add_shifted(const GaussianMoments& function, double offset, double slope, double sd,
                        Variation& variation) {
  if (slope == 0.0) return;
  Variation own;
  function.add_variation(slope, sd, own);
  variation.everywhere = std::fmin(variation.everywhere, own.everywhere);
  for (const Variation::Feature& feature : own.features) {
    variation.features.push_back({feature.centre - offset / slope, feature.scale});
  }
}

// Labels as a function of offset + slope z + sd N(0, 1), if that is what they are. With `signs`
// they are the signs of that function plus noise N(0, 1).
struct ScalarLabels {
  const GaussianMoments* function = nullptr;
  double offset = 0.0, slope = 0.0, sd = 1.0;
  const LabelVariation* signs = nullptr;
  double noise = 0.0;
};

// The rule of a level, in z; false if there is none as fine.
inline bool class_rule(const GaussianMoments& activation, int groups, const double* r,
                       const double* c, double mean, const ScalarLabels& labels,
                       RuleLadder::Start start, Index max_nodes, int level, Rule& rule) {
  Variation variation;
  for (int k = 0; k < groups; ++k) {
    add_shifted(activation, r[k] * mean, r[k], std::sqrt(c[k]), variation);
  }
  if (labels.function != nullptr) {
    add_shifted(*labels.function, labels.offset, labels.slope, labels.sd, variation);
  }
  if (labels.signs != nullptr && labels.slope != 0.0) {
    Variation own;
    labels.signs->add(labels.slope, labels.sd, labels.noise, own);
    // The centres are those of |slope| z alone.
    const double side = labels.slope < 0.0 ? -1.0 : 1.0;
    for (const Variation::Feature& feature : own.features) {
      variation.features.push_back(
          {side * feature.centre - labels.offset / labels.slope, feature.scale});
    }
  }
  return RuleLadder(variation, max_nodes, start).make(level, rule);
}

// The rule of a level for N(0, 1) that resolves these features; false if there is none as fine.
inline bool feature_rule(const double* centre, const double* scale, Index count, Index max_nodes,
                         double negligible, int level, Rule& rule) {
  Variation variation;
  for (Index i = 0; i < count; ++i) variation.features.push_back({centre[i], scale[i]});
  const RuleLadder ladder(variation, max_nodes, RuleLadder::Start::uniform, negligible);
  return ladder.make(level, rule);
}

}  // namespace spikedrf
