// Attributes of nodes: one reader each, from JSON into the fields of Node (docs/formats/operators.md). The table of
// operators (operators.cpp) says which operator has which.
#pragma once
#include <string_view>

#include "fields.h"
#include "network.h"

namespace gossamer {

struct AttributeSite {  // what a reader of an attribute may need beside the value
  const Place& place;
  std::string_view length;  // the length symbol of the network, empty where it has none
};

struct Attribute {
  const char* name;
  void (*read)(const AttributeSite&, Json::View, Node*);
};

// Two attributes of one name have different readers: the operators that have them mean different things.
extern const Attribute kKernel, kStride, kPadding, kDilation, kGroups, kOutput, kCountPad;  // windows
extern const Attribute kAxis, kAxisCount, kAxisList, kKeep, kEpsilon;                       // along axes
extern const Attribute kApproximate, kSlope, kAlpha, kBeta, kThreshold, kLow, kHigh, kScaleNumber, kShift,
    kExponent;                                                                      // numbers
extern const Attribute kFlattenStart, kSliceStart, kStop, kStep;                    // places along an axis
extern const Attribute kShapeWithRest, kShape, kAxisOrder, kBefore, kAfter, kFill;  // shapes
extern const Attribute kPadMode, kUpsampleMode, kMask, kPixelOrder;                 // choices
extern const Attribute kFactor, kSourceScale, kAlignCorners, kTransposeB, kCausal, kReverse;

}  // namespace gossamer
