// The rules over the plane of kappa of one class of inputs: kappa = mean + z, z ~ N(0, I).
//
// Features and labels vary across lines r_k . kappa = const. So the second axis has a rule, and at
// each of its nodes the first axis has one of its own, whose panels are fine where the lines cross
// it: a product of panels that lean with the lines. Once the first axis is averaged over, little is
// left that varies fast along the second: where lines cross each other.
#pragma once

#include <cmath>

#include "numerics/array.hpp"
#include "tables/class_rule.hpp"

namespace spikedrf {

struct PlaneRule {
  Array<double> first, second;  // z
  Array<double> weight;
};

// A function of offset + along z_1 + beside z_2 + sd N(0, 1).
struct PlaneFunction {
  const GaussianMoments* function = nullptr;
  double offset = 0.0, along = 0.0, beside = 0.0, sd = 1.0;
};

// How averages over the first axis vary with the second.
inline Variation beside_lines(const Array<PlaneFunction>& functions) {
  constexpr Index kMany = 16;  // pairs of lines are told apart among so few only
  struct Line {
    double at, lean, scale;  // z_1 = at + lean z_2
  };
  Array<Line> lines;
  Variation variation;
  for (const PlaneFunction& f : functions) {
    add_shifted(*f.function, f.offset, f.beside, std::hypot(f.sd, f.along), variation);
    Variation own;
    f.function->add_variation(f.beside, f.sd, own);
    variation.everywhere = std::fmin(variation.everywhere, own.everywhere);
    if (f.along == 0.0) continue;
    own = Variation();
    f.function->add_variation(f.along, f.sd, own);
    for (const Variation::Feature& feature : own.features) {
      lines.push_back({feature.centre - f.offset / f.along, -f.beside / f.along, feature.scale});
    }
  }
  if (lines.size() > kMany) return variation;
  for (Index i = 0; i < lines.size(); ++i) {
    for (Index j = 0; j < i; ++j) {
      const double turn = lines[i].lean - lines[j].lean;
      if (turn == 0.0) continue;
      const double scale = std::fmax(lines[i].scale, lines[j].scale) / std::fabs(turn);
      if (scale < 1.0) {
        variation.features.push_back({(lines[j].at - lines[i].at) / turn, scale});
      }
    }
  }
  return variation;
}

// The rules of one axis: more of them than a line has, as each costs the square of its nodes.
class AxisLadder {
 public:
  AxisLadder(const Variation& variation, Index max_nodes)
      : ladder_(variation, max_nodes), mild_(variation.everywhere >= kMild) {
    for (const Variation::Feature& feature : variation.features) {
      mild_ = mild_ && feature.scale >= kMild;
    }
  }
  bool make(int level, Rule& rule) const {
    constexpr int kWhole = 4;
    constexpr int kWholeOfLine = 2;
    static const Rule hermite[kWhole] = {gauss_hermite(40), gauss_hermite(64), gauss_hermite(96),
                                         gauss_hermite(128)};
    if (mild_ && level < kWhole) {
      rule = hermite[level];
      return true;
    }
    return ladder_.make(mild_ ? level - kWhole + kWholeOfLine : level, rule);
  }

 private:
  static constexpr double kMild = 0.7;  // as in the ladder of a line
  RuleLadder ladder_;
  bool mild_;
};

// The rule of a level; false if there is none of at most so many nodes. The first one always is.
inline bool plane_rule(const Array<PlaneFunction>& functions, Index max_nodes,
                       int level, PlaneRule& rule) {
  constexpr double kNegligible = 1e-28;
  constexpr Index kMostOfAxis = 1 << 13;
  Rule outer, inner;
  rule = PlaneRule();
  if (!AxisLadder(beside_lines(functions), kMostOfAxis).make(level, outer)) return false;
  for (Index j = 0; j < outer.node.size(); ++j) {
    const double z = outer.node[j];
    Variation variation;
    for (const PlaneFunction& f : functions) {
      add_shifted(*f.function, f.offset + f.beside * z, f.along, f.sd, variation);
    }
    if (!AxisLadder(variation, kMostOfAxis).make(level, inner)) return false;
    for (Index i = 0; i < inner.node.size(); ++i) {
      const double weight = outer.weight[j] * inner.weight[i];
      if (weight < kNegligible) continue;
      rule.first.push_back(inner.node[i]);
      rule.second.push_back(z);
      rule.weight.push_back(weight);
    }
    if (level > 0 && rule.weight.size() > max_nodes) return false;
  }
  return true;
}

// Ends of the panels across, between which features vary by no more than they do on their scale:
// strips of a plane whose lines share their panels, for averages that divide both (spectra).
inline Array<double> strip_edges(const Array<PlaneFunction>& functions, double left, double right,
                                 double coarser) {
  double widest = kWidestPanel;
  for (const PlaneFunction& f : functions) {
    Variation own;
    f.function->add_variation(f.beside, f.sd, own);
    widest = std::fmin(widest, 3.0 * own.everywhere);
    for (const Variation::Feature& feature : own.features) {
      widest = std::fmin(widest, feature.scale);
    }
  }
  return graded_edges(left, right, coarser * std::fmax(widest, kNarrowestPanel), {});
}

// The panels of the lines of a strip, z_2 from `low` to `high`.
inline Array<double> line_edges(const Array<PlaneFunction>& functions, double low, double high,
                                double left, double right, double coarser) {
  Variation variation;
  for (const PlaneFunction& f : functions) {
    for (double z : {low, 0.5 * (low + high), high}) {
      add_shifted(*f.function, f.offset + f.beside * z, f.along, f.sd, variation);
    }
  }
  for (Variation::Feature& feature : variation.features) feature.scale *= coarser;
  return graded_edges(left, right, coarser * widest_panel(variation), variation.features);
}

}  // namespace spikedrf
