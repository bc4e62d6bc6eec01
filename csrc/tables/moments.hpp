// Gaussian moments of a scalar function, and the tables of theory.md, section 3, built from them.
// The only place that ever sees the activation sigma and the target g.
#pragma once

#include <algorithm>
#include <utility>

#include "functions/activation.hpp"
#include "numerics/array.hpp"
#include "numerics/lanes.hpp"
#include "numerics/quadrature.hpp"
#include "tables/analytic_moments.hpp"
#include "tables/latents.hpp"

namespace spikedrf {

// Where the slopes of the moments below are written. With rest = f - e0 - e1 z,
//   f2 = E (z^2 - 1) f,   f3 = E (z^3 - 3z) f,   p1 = E z rest^2,   p2 = E (z^2 - 1) rest^2.
// Integrating by parts (the heat equation: d/dsd^2 of a Gaussian average is half its second
// derivative in the mean) they are all the derivatives there are, also for kinks and jumps:
//   d e0/dmean = e1/sd,   d e0/dsd = d e1/dmean = f2/sd,   d e1/dsd = (e1 + f3)/sd,
//   d e2/dmean = p1/sd,   d e2/dsd = p2/sd.
struct MomentSlopes {
  double* f2;
  double* f3;
  double* p1;
  double* p2;
  void clear(Index n) const {
    for (double* row : {f2, f3, p1, p2}) std::fill_n(row, n, 0.0);
  }
  MomentSlopes from(Index i) const { return {f2 + i, f3 + i, p1 + i, p2 + i}; }
};

// For f(mean + sd z), z ~ N(0, 1), its expansion in Hermite polynomials of z:
//   e0 = E f,   e1 = E z f,   e2 = E f^2 - e0^2 - e1^2  (the power of all higher orders, >= 0).
// e0 of an odd function is accurate relative to itself however small the mean, and 0 at mean 0: the
// readout of mu0 = e0 is not penalised, and would scale up what rounding leaves of it.
// sd = 0 is allowed and gives f(mean), 0, 0 (and slopes 0, although there are none).
class GaussianMoments {
 public:
  virtual ~GaussianMoments() = default;

  // `effort` rises with the level of the outer rule: an integral over z whose accuracy is not
  // guaranteed is refined along with it, so that its error shows up in the certificate. `slopes`
  // may be null. False means that the function could not be evaluated and the whole call must stop.
  virtual bool evaluate(const double* mean, Index n, double sd, int effort, double* e0, double* e1,
                        double* e2, const MomentSlopes* slopes) = 0;

  // Adds the scales on which e0, e1, e2 vary with kappa when mean = slope * kappa.
  virtual void add_variation(double slope, double sd, Variation& variation) const = 0;

  // True if e2 = 0 identically (an affine function).
  virtual bool linear() const { return false; }

  // True if e0 is not zero by nature, but too small for its square to be a number.
  virtual bool underflows(double /*slope*/, double /*sd*/) const { return false; }

  // True if the derivative of the function dies out towards -inf (side < 0) or +inf (side > 0).
  virtual bool saturates(int side) const = 0;
};

// Closed forms where they exist, quadrature to full precision where they do not.
class NamedMoments final : public GaussianMoments {
 public:
  explicit NamedMoments(Activation activation)
      : activation_(activation), analytic_(activation) {}

  bool evaluate(const double* mean, Index n, double sd, int effort, double* e0, double* e1,
                double* e2, const MomentSlopes* slopes) override;
  void add_variation(double slope, double sd, Variation& variation) const override;
  bool linear() const override { return traits(activation_).linear; }
  bool underflows(double slope, double sd) const override;
  bool saturates(int side) const override {
    const ActivationTraits shape = traits(activation_);
    return side < 0 ? shape.saturates_left : shape.saturates_right;
  }

 private:
  void expand(const double* mean, Index n, double sd, double* e0, double* e1, double* e2,
              const MomentSlopes* slopes);

  Activation activation_;
  AnalyticMoments analytic_;
};

// A user's function: `evaluate` is handed over to whoever can call it. It is smooth on the scale
// `grain` except at the points `breaks`.
class CallbackMoments final : public GaussianMoments {
 public:
  using Function = int (*)(void* context, const double* mean, Index n, double sd, int effort,
                           double* e0, double* e1, double* e2, const MomentSlopes* slopes);
  CallbackMoments(Function function, void* context, Array<double> breaks, double grain)
      : function_(function), context_(context), breaks_(std::move(breaks)), grain_(grain) {}

  bool evaluate(const double* mean, Index n, double sd, int effort, double* e0, double* e1,
                double* e2, const MomentSlopes* slopes) override {
    return function_(context_, mean, n, sd, effort, e0, e1, e2, slopes) == 0;
  }
  void add_variation(double slope, double sd, Variation& variation) const override;
  // Unknown functions are taken to be as awkward as they could be.
  bool saturates(int) const override { return true; }

 private:
  Function function_;
  void* context_;
  Array<double> breaks_;
  double grain_;
};

// How the tables move with gamma, r_k and c_k, in rows that match theirs (zero on the padding).
// d mu0_k/dr_k is kappa mu1_k, a table itself.
class TableSlopes {
 public:
  const double* h_gamma() const { return row(0); }
  const double* hz_gamma() const { return row(1); }
  const double* g2_gamma() const { return row(2); }
  const double* kappa() const { return row(3); }  // the nodes themselves
  const double* mu0_c(int k) const { return row(4 + 5 * k); }
  const double* mu1_r(int k) const { return row(5 + 5 * k); }
  const double* mu1_c(int k) const { return row(6 + 5 * k); }
  const double* mu2_r(int k) const { return row(7 + 5 * k); }  // of mu2^2
  const double* mu2_c(int k) const { return row(8 + 5 * k); }

 private:
  friend class Tables;
  const double* row(int i) const { return data_.data() + i * stride_; }
  double* row(int i) { return data_.data() + i * stride_; }
  void resize(int groups, Index stride) {
    stride_ = stride;
    data_.assign((4 + 5 * groups) * stride, 0.0);
    scratch_.resize(4 * stride);
  }
  // Scratch for the moments that the rows are made of.
  MomentSlopes moments() {
    double* at = scratch_.data();
    return {at, at + stride_, at + 2 * stride_, at + 3 * stride_};
  }

  Index stride_ = 0;
  Array<double> data_, scratch_;
};

// The tables on the nodes of one rule, for K readout groups, in rows of equal stride. The node
// count is padded to a multiple of `lanes` by nodes of weight zero.
class Tables {
 public:
  static constexpr Index lanes = kLanes;

  int groups = 0;
  Latents latents;
  Index nodes = 0;   // real nodes
  Index stride = 0;  // padded nodes

  const Array<double>& kappa() const { return kappa_; }
  const double* weight() const { return row(0); }
  const double* h() const { return row(1); }   // E g
  const double* g2() const { return row(2); }  // hh - h^2 - sum hz^2, without the label noise
  // E z_l g for the directions that kappa does not fix, z_l = s_l less its mean.
  const double* hz(int l = 0) const { return row(3 + l); }
  const double* mu0(int k) const { return row(mu0_at() + k); }
  const double* mu1(int k) const { return row(mu0_at() + groups + k); }
  // E[s_l | kappa] mu1_k for the coupled directions l, then the columns of lengths.
  int columns() const { return latents.columns(groups); }
  const double* column(int a) const { return row(mu0_at() + 2 * groups + a); }
  const double* kappa_mu1(int k) const { return column(k); }  // of the first spike
  // f_a: mu1_k mu1_l for the pairs k <= l (packed), then mu2_k^2; V = sum_a v_a f_a.
  const double* feature(int a) const { return row(feature_at() + a); }

  // Classes of inputs, whose nodes follow each other: those of class i are begin(i) to begin(i +
  // 1).
  int classes() const { return static_cast<int>(begin_.size()) - 1; }
  Index begin(int i) const { return begin_[i]; }
  // Whether the labels of class i are +1 and -1, known from kappa.
  bool signs(int i) const { return signs_[i]; }
  // One over the weight that a node's samples have in the loss; null if all weigh one.
  const double* inverse_weight() const {
    return inverse_weight_.empty() ? nullptr : inverse_weight_.data();
  }
  // E f_a with the samples' weights: the average at V = 0.
  const Array<double>& pulled_feature() const {
    return pulled_feature_.empty() ? mean_feature_ : pulled_feature_;
  }

  // E f_a, the label power E hh without noise, and the feature power E sum_k (mu0^2 + c mu1^2 +
  // mu2^2).
  const Array<double>& mean_feature() const { return mean_feature_; }
  double label_power() const { return label_power_; }
  double feature_power() const { return feature_power_; }
  double level_power(int k) const { return level_power_[k]; }  // E mu0^2
  // Whether some mu0 is zero in the tables only, see GaussianMoments::underflows.
  bool level_lost() const { return level_lost_; }

  // False if one of the functions could not be evaluated. `slopes` may be null.
  bool fill(const Rule& rule, int level, int group_count, const double* r, const double* c,
            double gamma, GaussianMoments& activation, GaussianMoments& target,
            TableSlopes* slopes = nullptr);

  // From rows that were made elsewhere, one number for each node: weight, one over the weight in
  // the loss, h, g2, hz of every direction that kappa does not fix, mu0, mu1, columns and mu2^2.
  // Returns where they end.
  const double* take(const double* rows, Index count, const Array<Index>& begin, int group_count,
                     const Latents& of);

  // Keeps the first half of the nodes, with twice the weight, if the features of the second are
  // its mirror image: averages of functions of the features alone are the same.
  bool fold();

 private:
  const double* row(int i) const { return data_.data() + i * stride; }
  double* row(int i) { return data_.data() + i * stride; }
  void complete();  // the features, and the averages below
  int mu0_at() const { return 3 + latents.rest(); }
  int feature_at() const { return mu0_at() + 2 * groups + columns(); }

  Array<Index> begin_;
  Array<char> signs_;
  Array<double> kappa_, data_, mean_feature_, level_power_, scratch_;
  Array<double> inverse_weight_, pulled_feature_;
  double label_power_ = 0.0;
  double feature_power_ = 0.0;
  bool level_lost_ = false;
};

}  // namespace spikedrf
