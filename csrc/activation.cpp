#include "activation.hpp"
namespace spikedrf {
using A=Activation;
const char* names[]={"tanh","relu","erf","sin","cos","sigmoid","softplus","gelu","silu","leaky_relu","abs","sign","identity","hermite1","hermite2","hermite3","hermite4","hermite5"};
const char* activation_name(A a){return names[(int)a];}
bool is_linear(A a){return a==A::identity||a==A::hermite1;}
bool saturates_right(A a){return a==A::tanh||a==A::erf||a==A::sigmoid||a==A::sign;}
bool saturates_left(A a){return saturates_right(a)||a==A::relu||a==A::softplus||a==A::gelu||a==A::silu;}
bool has_kink(A a){return a==A::relu||a==A::leaky_relu||a==A::abs||a==A::sign;}
bool oscillates(A a){return a==A::sin||a==A::cos;}
int growth(A a){int n=(int)a-(int)A::hermite1+1; if(n>=1) return n; if(saturates_right(a)||oscillates(a)) return 0; return 1;}
bool has_derivative(A a){return a!=A::sign;}
static double He(int n,double x){double p0=1,p1=x;if(n==0)return 1;for(int k=1;k<n;k++){double p2=x*p1-k*p0;p0=p1;p1=p2;}return p1;}
static double f(A a,double x){switch(a){case A::tanh:return std::tanh(x);case A::relu:return x>0?x:0;case A::erf:return std::erf(x/std::sqrt(2.));case A::sin:return std::sin(x);case A::cos:return std::cos(x);case A::sigmoid:return 1/(1+std::exp(-x));case A::softplus:return x>0?x+std::log1p(std::exp(-x)):std::log1p(std::exp(x));case A::gelu:return x*.5*std::erfc(-x/std::sqrt(2.));case A::silu:return x/(1+std::exp(-x));case A::leaky_relu:return x>0?x:.01*x;case A::abs:return std::fabs(x);case A::sign:return (x>0)-(x<0);case A::identity:return x;default:{int n=(int)a-(int)A::hermite1+1;double q=1;for(int i=2;i<=n;i++)q*=i;return He(n,x)/std::sqrt(q);}}}
void activate(A a,const double*x,double*o,std::size_t n)noexcept{for(std::size_t i=0;i<n;i++)o[i]=f(a,x[i]);}
static double g(A a,double x){switch(a){case A::tanh:{double t=std::tanh(x);return 1-t*t;}case A::relu:return x>0;case A::erf:return std::sqrt(2/M_PI)*std::exp(-x*x/2);case A::sin:return std::cos(x);case A::cos:return -std::sin(x);case A::sigmoid:{double s=1/(1+std::exp(-x));return s*(1-s);}case A::softplus:return 1/(1+std::exp(-x));case A::gelu:return .5*std::erfc(-x/std::sqrt(2.))+x*std::exp(-x*x/2)/std::sqrt(2*M_PI);case A::silu:{double s=1/(1+std::exp(-x));return s+x*s*(1-s);}case A::leaky_relu:return x>0?1:.01;case A::abs:return (x>0)-(x<0);case A::sign:return 0;case A::identity:return 1;default:{int n=(int)a-(int)A::hermite1+1;double q=1;for(int i=2;i<=n;i++)q*=i;return n*He(n-1,x)/std::sqrt(q);}}}
void activate_derivative(A a,const double*x,double*o,std::size_t n)noexcept{for(std::size_t i=0;i<n;i++)o[i]=g(a,x[i]);}
}
