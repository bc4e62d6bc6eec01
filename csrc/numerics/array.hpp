// The index type of the kernels, and arrays that are indexed with it.
#pragma once

#include <cstddef>
#include <deque>
#include <initializer_list>
#include <iterator>
#include <utility>
#include <vector>

namespace spikedrf {

// Signed, like every count and every index here: a difference of two is one of them again.
using Index = std::ptrdiff_t;

// A container of the standard library whose sizes and indices are signed.
template <class T, class Container>
class Signed : public Container {
  static constexpr std::size_t plain(Index i) { return static_cast<std::size_t>(i); }

  template <class Iterator>
  using IfIterator = typename std::iterator_traits<Iterator>::iterator_category;

 public:
  Signed() = default;
  Signed(Container values) : Container(std::move(values)) {}
  Signed(std::initializer_list<T> values) : Container(values) {}
  template <class Iterator, class = IfIterator<Iterator>>
  Signed(Iterator first, Iterator last) : Container(first, last) {}
  explicit Signed(Index size) : Container(plain(size)) {}
  Signed(Index size, const T& value) : Container(plain(size), value) {}

  Index size() const { return static_cast<Index>(Container::size()); }
  T& operator[](Index i) { return Container::operator[](plain(i)); }
  const T& operator[](Index i) const { return Container::operator[](plain(i)); }

  void resize(Index size) { Container::resize(plain(size)); }
  void assign(Index size, const T& value) { Container::assign(plain(size), value); }
  template <class Iterator, class = IfIterator<Iterator>>
  void assign(Iterator first, Iterator last) {
    Container::assign(first, last);
  }
};

template <class T>
using Array = Signed<T, std::vector<T>>;

// Its entries stay where they are while it grows.
template <class T>
using Deque = Signed<T, std::deque<T>>;

}  // namespace spikedrf
