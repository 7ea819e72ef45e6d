#include "training_conv.h"

#include <algorithm>
#include <exception>
#include <functional>

#include "conv_planes.h"
#include "conv_stream.h"

namespace gossamer {
namespace {

constexpr int64_t kImages = 16;           // lanes of a whole group of images
constexpr int64_t kFewImages = 5;         // up to so many are lanes of their own, more are filled up with zeros
constexpr int64_t kRunVectors = 8;        // of one row of a rectangle
constexpr int64_t kBandBytes = 3 << 18;   // of the bands of all sides of a call: they stay in the second-level cache
constexpr int64_t kOperandBytes = 98304;  // that one rectangle reads, most of them from the first-level cache

template <typename T>
constexpr int dtype_of = sizeof(T) == 8;
uint32_t word(int64_t value) { return static_cast<uint32_t>(value); }
int64_t parts_of(int64_t size, int64_t most) { return (size + most - 1) / most; }

struct Size {
  int64_t rows, columns;  // columns: vectors
};
// The rectangles that cover rows x columns vectors with the fewest calls, and among those the one that reads the least.
Size rectangle_of(int64_t rows, int64_t columns, int64_t most, int64_t reach_rows, int64_t reach_columns) {
  Size best{1, 1};
  int64_t least = INT64_MAX;
  for (int64_t r = 1; r <= std::min<int64_t>(4, rows); ++r)
    for (int64_t c = 1; c <= std::min<int64_t>(8, columns) && r * c <= most; ++c) {
      const int64_t calls = parts_of(rows, r) * parts_of(columns, c);
      const int64_t cost = calls * 4096 + (r + reach_rows) * (c + reach_columns);
      if (cost < least) least = cost, best = {r, c};
    }
  return best;
}

// f(first row, rows, first vector, vectors) over rectangles whose sides differ by one at most.
template <typename F>
void each_rectangle(int64_t rows, int64_t columns, Size most, const F& f) {
  const int64_t high = parts_of(rows, most.rows), wide = parts_of(columns, most.columns);
  for (int64_t a = 0; a < high; ++a)
    for (int64_t b = 0; b < wide; ++b) {
      const int64_t row = rows * a / high, column = columns * b / wide;
      f(row, rows * (a + 1) / high - row, column, columns * (b + 1) / wide - column);
    }
}

// What all calls over groups of `lanes` images share.
template <typename T>
class Layout {
 public:
  Layout(const TrainingMatrix& matrix, const KernelTable& kernels, const ConvShape& shape, int64_t lanes)
      : matrix(matrix),
        kernels(kernels),
        shape(shape),
        phases(shape),
        lanes(lanes),
        wide(kernels.lanes * 4 / static_cast<int64_t>(sizeof(T))) {
    flat = lanes != kImages || shape.width.reach() == 0;
    inputs = shape.channels / shape.groups;
    outputs = matrix.rows / shape.groups;
  }
  // Lanes of a rectangle of positions as rows of vectors; all in one row where nothing lies between the rows.
  Size vectors(int64_t rows, int64_t columns, int64_t plane_row) const {
    if (flat && (lanes != kImages || columns * lanes == plane_row))
      return {1, parts_of((rows - 1) * plane_row + columns * lanes, wide)};
    return {rows, parts_of(columns * lanes, wide)};
  }
  Size choose(Size size, bool gradient) const {
    if (size.rows == 1) return {1, kernels.conv_vectors[gradient] / kRunVectors * kRunVectors};
    const int64_t positions = std::max<int64_t>(1, lanes / wide);
    return rectangle_of(size.rows, size.columns, kernels.conv_vectors[gradient], shape.height.reach(),
                        shape.width.reach() * positions);
  }
  // Channels whose share of a rectangle stays in the first-level cache.
  int64_t block_of(int64_t channels, Size tile, int64_t planes) const {
    const int64_t high = shape.height.reach(), across = shape.width.reach() * lanes, run = tile.columns * wide;
    const int64_t positions =
        tile.rows == 1 ? run + high * shape.width.span() * lanes + across : (tile.rows + high) * (run + across);
    const int64_t bytes = positions * planes * static_cast<int64_t>(sizeof(T));
    const int64_t blocks = parts_of(channels, std::max<int64_t>(1, kOperandBytes / bytes));
    return parts_of(channels, blocks);
  }
  // Rows of a band: whole rectangles, within the bytes that `row_bytes` a row and `fixed` rows allow.
  int64_t band_rows(int64_t rows, int64_t tile_rows, int64_t row_bytes, int64_t fixed, int64_t units) const {
    if (lanes != kImages) return rows;
    int64_t most = std::max(tile_rows, (kBandBytes / row_bytes - fixed) / tile_rows * tile_rows);
    if (units > 1) most = std::min(most, std::max(tile_rows, parts_of(rows, units)));
    return parts_of(rows, parts_of(rows, most));
  }
  Band band(int64_t channels, int64_t rows, int64_t planes, int64_t front) const {
    Band b;
    b.channels = channels, b.rows = rows, b.lanes = lanes, b.phases = planes, b.front = front;
    b.lay_out(shape.width.span());
    return b;
  }
  int64_t tap_phase(int64_t r, int64_t s) const {
    return phases.index[static_cast<size_t>(shape.height.phase(r) * shape.width.stride + shape.width.phase(s))];
  }
  // Spots of all columns, from those of a tap and of an operand or result channel.
  template <typename Tap, typename Channel>
  void fill(std::vector<Spot>& table, int64_t group, const Tap& of_tap, const Channel& of_channel) const {
    Spot* at = table.data();
    for (int64_t r = 0; r < shape.height.kernel; ++r)
      for (int64_t s = 0; s < shape.width.kernel; ++s) {
        const Spot tap = of_tap(r, s);
        for (int64_t c = group * inputs; c < (group + 1) * inputs; ++c, ++at) {
          const Spot channel = of_channel(c);
          *at = {tap.cell + channel.cell, tap.offset + channel.offset};
        }
      }
  }
  template <typename Columns, typename Row>
  Stream<T> sort(int64_t sets, int64_t blocks, int64_t rows, const T* values, const Columns& columns,
                 const Row& row) const {
    if (matrix.columns32.empty())
      return sort_entries(matrix, matrix.columns16, sets, blocks, rows, outputs, values, columns, row);
    return sort_entries(matrix, matrix.columns32, sets, blocks, rows, outputs, values, columns, row);
  }
  Stream<T> by_row(const Band& in, int64_t block, const T* values) const {
    const auto tap = [&](int64_t r, int64_t s) {
      return Spot{0, word(tap_phase(r, s) * in.phase + shape.height.shift(r) * in.row + shape.width.shift(s) * lanes)};
    };
    const auto channel = [&](int64_t c) { return Spot{word(c / block * matrix.rows), word(c * in.plane)}; };
    return sort(
        1, parts_of(shape.channels, block), matrix.rows, values,
        [&](int64_t group, std::vector<Spot>& table) { fill(table, group, tap, channel); },
        [&](int64_t r) { return Spot{word(r), 0}; });
  }
  Stream<T> by_channel(const Band& back, int64_t block, const T* values) const {
    const int64_t blocks = parts_of(matrix.rows, block);
    const auto tap = [&](int64_t r, int64_t s) {
      return Spot{word(tap_phase(r, s) * blocks * shape.channels),
                  word((shape.height.reach() - shape.height.shift(r)) * back.row +
                       (shape.width.reach() - shape.width.shift(s)) * lanes)};
    };
    const auto channel = [&](int64_t c) { return Spot{word(c), 0}; };
    return sort(
        phases.count(), blocks, shape.channels, values,
        [&](int64_t group, std::vector<Spot>& table) { fill(table, group, tap, channel); },
        [&](int64_t r) { return Spot{word(r / block * shape.channels), word(r * back.plane)}; });
  }
  // The product or the gradient over the rectangles of one set, blocks of operand channels inside.
  void run(bool gradient, const Stream<T>& stream, int64_t set, ConvTileArgs a, Size size) const {
    const auto kernel = (gradient ? kernels.conv_sddmm : kernels.conv_product)[dtype_of<T>];
    const Size tile = choose(size, gradient);  // the last band and the phases differ from the whole
    const T* const x = static_cast<const T*>(a.x);
    T* const y = static_cast<T*>(a.y);
    a.offsets = stream.offsets.data();
    a.values = stream.values.data();
    const auto rectangle = [&](int64_t x_at, int64_t y_at, int64_t rows, int64_t count) {
      a.rows = static_cast<int>(rows), a.vectors = static_cast<int>(count);
      a.x = x + x_at, a.y = y + y_at;
      for (int64_t b = 0; b < stream.blocks; ++b) {
        const uint32_t* start = stream.start.data() + set * stream.blocks + b;
        a.segments = stream.segments.data() + start[0];
        a.num_segments = start[1] - start[0];
        kernel(&a);
      }
    };
    if (size.rows > 1)
      return each_rectangle(size.rows, size.columns, tile,
                            [&](int64_t row, int64_t rows, int64_t column, int64_t count) {
                              rectangle(row * a.x_row + column * wide, row * a.y_row + column * wide, rows, count);
                            });
    for (int64_t at = 0, count = 0; at < size.columns; at += count) {  // one run of vectors, as rows of kRunVectors
      count = std::min(size.columns - at, tile.columns);
      if (count > kRunVectors) count = count / kRunVectors * kRunVectors;
      a.x_row = a.y_row = kRunVectors * wide;
      rectangle(at * wide, at * wide, parts_of(count, kRunVectors), std::min(count, kRunVectors));
    }
  }

  const TrainingMatrix& matrix;
  const KernelTable& kernels;
  const ConvShape& shape;
  const ConvPhases phases;
  const int64_t lanes, wide;  // images a position; elements a vector
  bool flat;
  int64_t inputs, outputs;  // of a group
};

// Memory that a thread keeps for its next call.
template <typename T>
T* scratch(int64_t elements) {
  thread_local std::vector<T> kept;
  if (static_cast<int64_t>(kept.size()) < elements + 16) kept = std::vector<T>(static_cast<size_t>(elements + 16));
  const uintptr_t at = reinterpret_cast<uintptr_t>(kept.data());
  return kept.data() + (64 - at % 64) % 64 / sizeof(T);
}
int64_t whole_lines(int64_t elements) { return (elements + 15) / 16 * 16; }

// What a part throws ends the call, not the process: no exception may leave a worker.
void share(int threads, const std::function<void(int)>& part) {
  if (threads == 1) return part(0);
  std::vector<std::exception_ptr> thrown(static_cast<size_t>(threads));
  team_of(threads).run([&](int i) {
    try {
      part(i);
    } catch (...) {
      thrown[static_cast<size_t>(i)] = std::current_exception();
    }
  });
  for (const std::exception_ptr& exception : thrown)
    if (exception) std::rethrow_exception(exception);
}

// One piece of work: a band of a group of images.
struct Unit {
  int64_t first, count, band;  // images; first row / rows of a band
  bool fresh;                  // nothing of the unit before is of use
};
template <typename F>
void each_unit(int64_t begin, int64_t end, int64_t lanes, int64_t bands, int part, int parts, const F& f) {
  const int64_t units = parts_of(end - begin, lanes) * bands;
  const int64_t from = units * part / parts, to = units * (part + 1) / parts;
  for (int64_t u = from; u < to; ++u) {
    const int64_t first = begin + u / bands * lanes;
    f(Unit{first, std::min(lanes, end - first), u % bands, u == from || u % bands == 0});
  }
}

template <typename T>
void forward_images(const Layout<T>& layout, const T* values, Images<const T> x, Images<T> y, int64_t begin,
                    int64_t end, int threads) {
  const ConvShape& shape = layout.shape;
  const ConvAxis &high = shape.height, &across = shape.width;
  const int64_t reach = high.reach(), planes = layout.phases.count(), row = across.span() * layout.lanes;
  const Size tile = layout.choose(layout.vectors(high.out(), across.out(), row), false);
  const int64_t groups = parts_of(end - begin, layout.lanes);
  const int64_t rows = layout.band_rows(
      high.out(), tile.rows, row * (shape.channels * planes + layout.matrix.rows) * static_cast<int64_t>(sizeof(T)),
      reach, parts_of(threads, groups));
  const Band in = layout.band(shape.channels, rows + reach, planes, 0),
             out = layout.band(layout.matrix.rows, rows, 1, 0);
  const Stream<T> stream = layout.by_row(in, layout.block_of(shape.channels, tile, planes), values);
  const int64_t bands = parts_of(high.out(), rows);
  share(threads, [&](int part) {
    T* const memory = scratch<T>(whole_lines(in.elements()) + out.elements());
    ConvPlanes<T> read(layout.kernels, shape, &layout.phases, in, memory);
    ConvPlanes<T> written(layout.kernels, shape, nullptr, out, memory + whole_lines(in.elements()));
    read.clear();
    each_unit(begin, end, layout.lanes, bands, part, threads, [&](const Unit& u) {
      const int64_t top = u.band * rows, bottom = std::min(high.out(), top + rows);
      if (!u.fresh) read.advance(rows, reach);
      read.fill(x, u.first, u.count, u.fresh ? top : top + reach, bottom + reach, top);
      ConvTileArgs a;
      a.x = read.data(), a.x_row = in.row, a.y = written.data(), a.y_row = out.row, a.y_plane = out.plane;
      layout.run(false, stream, 0, a, layout.vectors(bottom - top, across.out(), row));
      written.write(y, u.first, u.count, top, bottom, top, false);
    });
  });
}

template <typename T>
void backward_images(const Layout<T>& layout, const T* values, Images<const T> x, Images<const T> dy, Images<T> dx,
                     T* gradient, int64_t begin, int64_t end, int threads) {
  const ConvShape& shape = layout.shape;
  const ConvAxis &high = shape.height, &across = shape.width;
  const int64_t reach = high.reach(), planes = layout.phases.count(), row = across.span() * layout.lanes;
  const int64_t positions = dx.data ? high.span() : high.out();  // rows of all bands
  const Size dx_tile = layout.choose(layout.vectors(positions, across.span(), row), false);
  const Size tile = layout.choose(layout.vectors(high.out(), across.out(), row), true);
  const int64_t groups = parts_of(end - begin, layout.lanes);
  const int64_t channels = shape.channels * planes * (dx.data ? 2 : 1) + layout.matrix.rows;
  const int64_t rows =
      layout.band_rows(positions, std::max(tile.rows, dx_tile.rows), row * channels * static_cast<int64_t>(sizeof(T)),
                       reach, parts_of(threads, groups));
  const Band in = layout.band(shape.channels, rows + reach, planes, 0);
  const Band back = layout.band(layout.matrix.rows, rows + reach, 1, across.reach() * layout.lanes);
  const Band out = dx.data ? layout.band(shape.channels, rows, planes, 0) : Band{};
  const Stream<T> stream =
      layout.by_row(in, layout.block_of(shape.channels, tile, planes), static_cast<const T*>(nullptr));
  const Stream<T> by_channel =
      dx.data ? layout.by_channel(back, layout.block_of(layout.matrix.rows, dx_tile, 1), values) : Stream<T>{};
  const int64_t bands = parts_of(positions, rows);
  std::vector<std::vector<T>> sums(static_cast<size_t>(threads));
  share(threads, [&](int part) {
    std::vector<T>& sum = sums[static_cast<size_t>(part)];
    sum.assign(stream.offsets.size(), T{0});
    const int64_t in_size = whole_lines(in.elements()), back_size = whole_lines(back.elements());
    T* const memory = scratch<T>(in_size + back_size + out.elements());
    ConvPlanes<T> read(layout.kernels, shape, &layout.phases, in, memory);
    ConvPlanes<T> gradients(layout.kernels, shape, nullptr, back, memory + in_size);
    ConvPlanes<T> written(layout.kernels, shape, &layout.phases, out, memory + in_size + back_size);
    read.clear();
    gradients.clear();
    if (dx.data) written.clear();
    each_unit(begin, end, layout.lanes, bands, part, threads, [&](const Unit& u) {
      const int64_t top = u.band * rows, bottom = std::min(positions, top + rows);
      if (!u.fresh) read.advance(rows, reach), gradients.advance(rows, reach);
      read.fill(x, u.first, u.count, u.fresh ? top : top + reach, bottom + reach, top);
      gradients.fill(dy, u.first, u.count, u.fresh ? top - reach : top, bottom, top - reach);
      ConvTileArgs a;
      if (bottom > top && top < high.out()) {
        a.x = read.data(), a.x_row = in.row;
        a.y = gradients.data() + back.front + reach * back.row, a.y_row = back.row, a.y_plane = back.plane;
        a.gradient = sum.data();
        layout.run(true, stream, 0, a, layout.vectors(std::min(bottom, high.out()) - top, across.out(), row));
      }
      if (!dx.data) return;
      for (int64_t p = 0; p < planes; ++p) {
        const int64_t phase = layout.phases.list[static_cast<size_t>(p)];
        const auto range = [](const ConvAxis& axis, int64_t remainder) {  // of positions that are pixels
          const auto up = [&](int64_t pixel) {
            return std::clamp<int64_t>(parts_of(std::max<int64_t>(0, pixel + axis.padding - remainder), axis.stride), 0,
                                       axis.span());
          };
          return std::pair<int64_t, int64_t>(up(0), up(axis.size));
        };
        auto [i, i_end] = range(high, phase / across.stride);
        const auto [j, j_end] = range(across, phase % across.stride);
        i = std::max(i, top), i_end = std::min(i_end, bottom);
        if (i >= i_end || j >= j_end) continue;
        const int64_t at = (i - top) * row + j * layout.lanes;
        a.x = gradients.data() + at, a.x_row = back.row;
        a.y = written.data() + p * out.phase + at, a.y_row = out.row, a.y_plane = out.plane;
        layout.run(false, by_channel, p, a, layout.vectors(i_end - i, j_end - j, row));
      }
      written.write(dx, u.first, u.count, top, bottom, top, bottom == positions);
    });
  });
  for (const std::vector<T>& sum : sums)
    for (size_t i = 0; i < sum.size(); ++i) gradient[stream.source[i]] += sum[i];
}

// call(layout, first image, end) for whole groups of images, and for the rest
template <typename T, typename F>
void by_groups(const TrainingMatrix& matrix, const KernelTable& kernels, const ConvShape& shape, const F& call) {
  const int64_t rest = shape.n % kImages, few = rest <= kFewImages ? rest : 0;
  if (shape.n > few) call(Layout<T>(matrix, kernels, shape, kImages), int64_t{0}, shape.n - few);
  if (few) call(Layout<T>(matrix, kernels, shape, few), shape.n - few, shape.n);
}

}  // namespace

template <typename T>
void conv_forward(const TrainingMatrix& matrix, const KernelTable& kernels, const ConvShape& shape, const T* values,
                  Images<const T> x, Images<T> y, int threads) {
  by_groups<T>(matrix, kernels, shape, [&](const Layout<T>& layout, int64_t begin, int64_t end) {
    forward_images(layout, values, x, y, begin, end, threads);
  });
}

template <typename T>
void conv_backward(const TrainingMatrix& matrix, const KernelTable& kernels, const ConvShape& shape, const T* values,
                   Images<const T> x, Images<const T> dy, Images<T> dx, T* gradient, int threads) {
  std::fill(gradient, gradient + matrix.num_kept(), T{0});
  by_groups<T>(matrix, kernels, shape, [&](const Layout<T>& layout, int64_t begin, int64_t end) {
    backward_images(layout, values, x, dy, dx, gradient, begin, end, threads);
  });
}

template void conv_forward(const TrainingMatrix&, const KernelTable&, const ConvShape&, const float*,
                           Images<const float>, Images<float>, int);
template void conv_forward(const TrainingMatrix&, const KernelTable&, const ConvShape&, const double*,
                           Images<const double>, Images<double>, int);
template void conv_backward(const TrainingMatrix&, const KernelTable&, const ConvShape&, const float*,
                            Images<const float>, Images<const float>, Images<float>, float*, int);
template void conv_backward(const TrainingMatrix&, const KernelTable&, const ConvShape&, const double*,
                            Images<const double>, Images<const double>, Images<double>, double*, int);

}  // namespace gossamer
