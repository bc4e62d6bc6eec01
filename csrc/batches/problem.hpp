// What is to be solved: the first layers, the readout's loss, the labels, and the points.
#pragma once

#include <cstdint>
#include <type_traits>

#include "equations/bulk.hpp"
#include "functions/loss.hpp"
#include "numerics/array.hpp"
#include "tables/labels.hpp"
#include "tables/moments.hpp"
#include "tables/panel_tables.hpp"

namespace spikedrf {

enum class Status : std::int32_t {
  converged = 0,
  quadrature = 1,  // the errors still moved by more than rtol on the finest rule
  newton = 2,      // the equations did not converge
  rounding = 3,    // groups too nearly alike for double precision: errors beyond rtol are possible
  undefined = 4,   // gradient.hpp: a derivative does not exist
                   // 5 is Python's own: the optimum is in doubt
  unattainable = 6,  // it takes more neurons than any network has, see below
};

// Whether the answer rests on a mean readout m that no network of finitely many neurons has. In the
// limit m costs nothing; p neurons pay m^2 / p for it, beside a norm of the size of labels over
// features. Beyond 1e15 times the root of that, features in double precision do not even know of
// the mu0 that m multiplies.
inline bool unattainable(const Tables& tables, const double* m, double rtol) {
  constexpr double kMost = 1e30;
  if (tables.level_lost()) return true;
  const double label = tables.label_power();
  for (int k = 0; k < tables.groups; ++k) {
    const double square = m[k] * m[k];
    if (square * tables.level_power(k) > rtol * label &&
        square * tables.feature_power() > kMost * label) {
      return true;
    }
  }
  return false;
}

struct Spikes {
  Index count;
  int groups;
  const double* r;      // count x groups
  const double* c;      // count x groups, > 0
  const double* gamma;  // count, in [-1, 1]
  const double* pi;     // count x groups, > 0
  // The bulk of each spike: `bulk_rules` descriptions of it by `bulk_nodes` nodes each (count x
  // rules x nodes x groups values, count x rules x nodes weights), with c their mean; 0 nodes is
  // the isotropic bulk of variance c. Rules that are not exact take turns on the ladder of
  // quadrature rules, so that what they differ by shows in the certificate.
  int bulk_nodes = 0;
  int bulk_rules = 1;
  Bulk bulk{};

  // Which of all rules for the bulk (of all spikes) a spike uses on a level.
  Index bulk_rule(Index index, Index level) const {
    const Index rules = bulk_rules;
    return index * rules + level % rules;
  }
  Bulk bulk_of(Index index, Index level) const {
    const Index width = groups;
    if (bulk_nodes == 0) return Bulk::isotropic(c + index * width);
    const Index at = bulk_rule(index, level) * bulk_nodes;
    Bulk result = bulk;
    result.nodes = bulk_nodes;
    result.value += at * width;
    result.trace += at;
    result.forms += at;
    if (result.correlated()) {
      result.lengths += at * (result.directions + groups) * groups;
    }
    return result;
  }
  const double* pi_of(Index index) const { return pi + index * groups; }
};

struct Accuracy {
  double rtol = 1e-8;
  Index max_nodes = 1u << 15;
};

// Tables that are made elsewhere, for inputs and labels of any kind (theory.md, section 12).
class TableSource {
 public:
  virtual ~TableSource() = default;
  enum class Made { ready, exhausted, failed };
  // On a rule that gets finer with the level.
  virtual Made make(Index level, int groups, const Latents& latents, Tables& tables) = 0;
  // Labels on the nodes of that level, on a rule over the directions beside kappa that they depend
  // on, which gets finer with `fine`.
  virtual Made label(Index level, Index fine, const Latents& latents, LabelTable& labels) = 0;
  // For spectra: on strips of panels in a plane.
  virtual Made panels(Index level, int groups, const Latents& latents, int classes,
                      PanelTables& panels) = 0;
};

// Rows for Tables::take or LabelTable::take, from whoever can make them. Those of panels are
// followed by the weights of each class, and by the lengths of each group if they vary; `begin` has
// the degree of their panels first.
struct MadeRows {
  Array<double> rows;  // of `nodes` numbers
  Index nodes = 0;     // none: there is no rule as fine
  Array<Index> begin;
};

class CallbackTables final : public TableSource {
 public:
  // Tables of a level if `fine` is negative, else labels. Not 0: failed.
  using Function = int (*)(void* context, Index level, Index fine, MadeRows* rows);
  CallbackTables(Function function, void* context) : function_(function), context_(context) {}

  Made make(Index level, int groups, const Latents& latents, Tables& tables) override {
    MadeRows made;
    const Made result = call(level, -1, made);
    if (result == Made::ready) {
      tables.take(made.rows.data(), made.nodes, made.begin, groups, latents);
    }
    return result;
  }
  Made label(Index level, Index fine, const Latents& latents, LabelTable& labels) override {
    MadeRows made;
    const Made result = call(level, fine, made);
    if (result == Made::ready) {
      labels.take(made.rows.data(), made.begin, latents.label_directions());
    }
    return result;
  }
  Made panels(Index level, int groups, const Latents& latents, int classes,
              PanelTables& out) override {
    MadeRows made;
    const Made result = call(level, -1, made);
    if (result != Made::ready) return result;
    const Index nodes = made.nodes;
    const double* const end = made.rows.data() + made.rows.size();
    const double* next = out.tables.take(made.rows.data(), nodes, {0, nodes}, groups, latents);
    out.degree = static_cast<int>(made.begin[0]);
    out.strip.assign(made.begin.begin() + 1, made.begin.end());
    out.of_class.clear();
    for (int i = 0; i < classes; ++i, next += nodes) {
      out.of_class.insert(out.of_class.end(), next, next + nodes);
    }
    out.length.assign(next, end);
    return result;
  }

 private:
  Made call(Index level, Index fine, MadeRows& made) {
    if (function_(context_, level, fine, &made) != 0) return Made::failed;
    return made.nodes == 0 ? Made::exhausted : Made::ready;
  }

  Function function_;
  void* context_;
};

struct Problem {
  Spikes spikes;
  GaussianMoments* activation;
  GaussianMoments* target;  // not looked at for a spectrum
  Loss loss{};  // needed for all but spectra and tables
  LabelKind labels = LabelKind::real;
  Accuracy accuracy{};
  // Several directions, classes, lengths: of one spike, whose tables are these. Labels other than
  // real ones under the square loss are of one noise.
  Latents latents{};
  TableSource* source = nullptr;
  int classes = 1;
  Classes seen{};  // by spectra, whose tables are their own
  // Whether these hold averages over grids that do not know of kinks: two rules may agree by
  // accident there.
  bool doubtful = false;
};

// Sorted by spike, so that a run of points with one spike is consecutive. Spectra have z instead of
// lam and noise, and are best sorted along the real axis: each starts from its neighbour's root.
struct Points {
  Index count;
  const std::int64_t* spike;
  const double* alpha;            // > 0, infinite for the square loss of real labels only
  const double* beta;             // > 0
  const double* lam = nullptr;    // >= 0
  const double* noise = nullptr;  // >= 0
  const double* flip = nullptr;   // of sign labels, in [0, 1/2]: the chance to be turned around
  const double* z = nullptr;      // count x 2, Im z >= 0; on the real axis the limit from above

  Index spike_of(Index point) const { return spike[point]; }
};

// Calls f with the number of groups as a compile-time constant, 0 if there are many.
template <class F>
auto with_groups(int groups, const F& f) {
  switch (groups) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant<int, 3>());
    case 4:
      return f(std::integral_constant<int, 4>());
    default:
      return f(std::integral_constant<int, 0>());
  }
}

}  // namespace spikedrf
