# What the compiled core takes from the kernels in csrc/.

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libcpp cimport bool as cbool

cdef extern from "numerics/array.hpp" namespace "spikedrf" nogil:
    ctypedef ptrdiff_t Index
    cdef cppclass Array[T]:
        Array() except +
        Index size()
        T& operator[](Index)
        cbool empty()
        T* data()
        void push_back(T) except +
        void assign(const T*, const T*) except +

cdef extern from "functions/activation.hpp" namespace "spikedrf" nogil:
    cdef enum class Activation(int):
        pass
    cdef struct ActivationTraits:
        const char* name
        const char* formula
        cbool linear
        cbool saturates_left
        cbool saturates_right
        cbool differentiable
    int activation_count
    ActivationTraits traits(Activation)
    void activate(Activation, const double*, double*, Index)
    void activate_derivative(Activation, const double*, double*, Index)

cdef extern from "tables/moments.hpp" namespace "spikedrf" nogil:
    cdef struct MomentSlopes:
        double* f2
        double* f3
        double* p1
        double* p2
    cdef cppclass GaussianMoments:
        cbool evaluate(const double*, Index, double, int, double*, double*, double*,
                       const MomentSlopes*) except +
    cdef cppclass NamedMoments(GaussianMoments):
        NamedMoments(Activation)
    ctypedef int (*MomentFunction)(void*, const double*, Index, double, int, double*, double*,
                                   double*, const MomentSlopes*) noexcept
    cdef cppclass CallbackMoments(GaussianMoments):
        CallbackMoments(MomentFunction, void*, Array[double], double) except +

cdef extern from "equations/bulk.hpp" namespace "spikedrf" nogil:
    cdef struct Bulk:
        int nodes
        const double* value
        const double* trace
        int directions
        const double* forms
        Index stride
        const double* lengths
        const double* left

cdef extern from "functions/loss.hpp" namespace "spikedrf" nogil:
    cdef enum class LossKind(int):
        pass
    cdef struct Loss:
        LossKind kind
        double parameter
    cdef struct LossTraits:
        const char* name
        cbool margin
    int loss_count
    LossTraits loss_traits "spikedrf::traits"(LossKind)
    void prox(Loss, double, const double*, double*, Index) except +

cdef extern from "tables/labels.hpp" namespace "spikedrf" nogil:
    cdef enum class LabelKind(int):
        pass
    cdef cppclass LabelVariation:
        cbool find(LabelKind, GaussianMoments&) except +
    cdef cppclass LabelTable:
        cbool fill_around(LabelKind, const Array[double]&, int, double, double,
                          const LabelVariation&, GaussianMoments&) except +
        cbool exhausted()
        Index begin(Index)
        const double* zeta()
        const double* weight()
        const double* value()

cdef extern from "numerics/quadrature.hpp" namespace "spikedrf" nogil:
    cdef enum RuleStart "spikedrf::RuleLadder::Start":
        hermite "spikedrf::RuleLadder::Start::hermite"
        uniform "spikedrf::RuleLadder::Start::uniform"
        fine "spikedrf::RuleLadder::Start::fine"

cdef extern from "tables/class_rule.hpp" namespace "spikedrf" nogil:
    cdef struct Rule:
        Array[double] node
        Array[double] weight
    cdef struct ScalarLabels:
        const GaussianMoments* function
        double offset
        double slope
        double sd
        const LabelVariation* signs
        double noise
    cbool core_class_rule "spikedrf::class_rule"(
        const GaussianMoments&, int, const double*, const double*, double, const ScalarLabels&,
        RuleStart, Index, int, Rule&) except +
    cbool core_feature_rule "spikedrf::feature_rule"(
        const double*, const double*, Index, Index, double, int, Rule&) except +

cdef extern from "tables/plane_rule.hpp" namespace "spikedrf" nogil:
    cdef struct PlaneRule:
        Array[double] first
        Array[double] second
        Array[double] weight
    cdef struct PlaneFunction:
        const GaussianMoments* function
        double offset
        double along
        double beside
        double sd
    cbool core_plane_rule "spikedrf::plane_rule"(
        const Array[PlaneFunction]&, Index, int, PlaneRule&) except +
    Array[double] core_strip_edges "spikedrf::strip_edges"(
        const Array[PlaneFunction]&, double, double, double) except +
    Array[double] core_line_edges "spikedrf::line_edges"(
        const Array[PlaneFunction]&, double, double, double, double, double) except +

cdef extern from "tables/latents.hpp" namespace "spikedrf" nogil:
    cdef struct Latents:
        int spans
        int coupled
        int free
        cbool lengths
        unsigned int labelled
    cdef struct Classes:
        int count
        int directions
        const double* share
        const double* mean
        const double* spread

cdef extern from "batches/problem.hpp" namespace "spikedrf" nogil:
    cdef cppclass TableSource:
        pass
    cdef struct MadeRows:
        Array[double] rows
        Index nodes
        Array[Index] begin
    ctypedef int (*TableFunction)(void*, Index, Index, MadeRows*) noexcept
    cdef cppclass CallbackTables(TableSource):
        CallbackTables(TableFunction, void*)
    cdef struct Spikes:
        Index count
        int groups
        const double* r
        const double* c
        const double* gamma
        const double* pi
        int bulk_nodes
        int bulk_rules
        Bulk bulk
    cdef struct Accuracy:
        double rtol
        Index max_nodes
    cdef struct CoreProblem "spikedrf::Problem":
        Spikes spikes
        GaussianMoments* activation
        GaussianMoments* target
        Loss loss
        LabelKind labels
        Accuracy accuracy
        Latents latents
        TableSource* source
        int classes
        Classes seen
        cbool doubtful
    cdef struct CorePoints "spikedrf::Points":
        Index count
        const int64_t* spike
        const double* alpha
        const double* beta
        const double* lam
        const double* noise
        const double* flip
        const double* z

cdef extern from "batches/solutions.hpp" namespace "spikedrf" nogil:
    cdef struct CoreSolutions "spikedrf::Solutions":
        double* test_error
        double* excess_error
        double* train_error
        double* norm
        double* residual
        double* quadrature_error
        double* test_loss
        double* train_loss
        double* test_margin
        double* train_margin
        double* m
        double* theta
        double* psi
        double* q2
        double* V2
        double* q1
        double* V1
        int32_t* status
        int32_t* nit
        int64_t* nodes
        double* class_error
        double* class_wrong

cdef extern from "averages/loss_averages.hpp" namespace "spikedrf" nogil:
    cdef enum class ObjectiveKind(int):
        pass

cdef extern from "batches/gradient.hpp" namespace "spikedrf" nogil:
    cdef struct Directions:
        Index count
        const double* slope
        const double* scale
        const double* bulk
    cdef struct CoreGradients "spikedrf::Gradients":
        Directions directions
        cbool by_alpha
        cbool by_beta
        cbool by_lam
        cbool by_noise
        cbool by_flip
        cbool by_parameter
        ObjectiveKind objective
        double* test_error
        double* test_loss
        double* alpha
        double* beta
        double* lam
        double* noise
        double* flip
        double* parameter
        double* along
        double* quadrature_error
        int32_t* status

cdef extern from "batches/spectrum.hpp" namespace "spikedrf" nogil:
    cdef struct CoreTransforms "spikedrf::Transforms":
        double* V2
        double* slope
        double* cumulative
        double* residual
        double* quadrature_error
        double* mean
        double* form
        int32_t* status
        int32_t* nit
        int64_t* nodes

cdef extern from "batches/run.hpp" namespace "spikedrf" nogil:
    cdef struct Wanted:
        const CoreSolutions* solutions
        const CoreGradients* gradients
        const CoreTransforms* transforms
    cbool core_run "spikedrf::run"(const CoreProblem&, const CorePoints&, const Wanted&) except +
    cbool tabulate(const CoreProblem&, Index, Array[double]&) except +

cdef extern from "equations/trained_resolvent.hpp" namespace "spikedrf" nogil:
    int kTrainedSums
    cdef cppclass TrainedLaw:
        TrainedLaw(const double*, Index) except +
    void solve_trained(const TrainedLaw&, const double*, const double*, Index, Index, double*)

cdef extern from "network/features.hpp" namespace "spikedrf" nogil:
    void activate(Activation, const float*, float*, Index)
    Index spike_features[Real](Activation, const Real*, const Real*, const Real*, Real, Real*,
                                Index, Index)
    void residual_and_slopes[Real](Activation, Real*, const Real*, const Real*, Real*, Index,
                                   Index)

cdef extern from "network/few_inputs.hpp" namespace "spikedrf" nogil:
    Index panels_size(Index, Index, Index)
    void pack_panels[Real](const Real*, Index, Index, Real*)
    void few_input_features[Real](Activation, const Real*, const Real*, Real*, Index, Index,
                                  Index)
    Index scratch_size(Index, Index, Index)
    void few_input_gradient[Real](Activation, const Real*, const Real*, const Real*, const Real*,
                                  const Real*, Real*, Real*, Real*, Index, Index, Index)

ctypedef fused real:
    float
    double
